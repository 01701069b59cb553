#!/usr/bin/env bash
# Starts the profiles given (gpu, cpu or embedded; monitoring, load, train, train-gpu) in the background, waits until
# all of it is healthy, and says where it answers; or says why not. `make up PROFILE="cpu monitoring"` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "make up: $*" >&2; exit "${code:-1}"; }
wrong() { code=2 fail "$@"; }

[[ -x $(command -v docker) ]] || fail 'no docker on PATH; install Docker, or use `make serve`, which needs none'
docker compose version >/dev/null 2>&1 || fail 'this docker has no `docker compose`; install its compose plugin'
architecture=$(docker info --format '{{.Architecture}}' 2>/dev/null) && [[ $architecture ]] ||
  fail 'the Docker engine does not answer; is it running, and may you use it (docker info)?'

# TensorFlow Serving's images are for amd64 only.
[[ $architecture == x86_64 ]] && serving=cpu || serving=embedded
read -ra profiles <<<"${PROFILE:-$serving}"

declare -A service=([gpu]=serving [cpu]=serving-cpu [embedded]=serving-embedded)
chosen=() training=() others=()
for profile in "${profiles[@]}"; do
  case $profile in
    gpu | cpu | embedded) chosen+=("$profile") ;;
    train | train-gpu) training+=("$profile") ;;
    monitoring | load) others+=("$profile") ;;
    *) wrong "PROFILE=$profile is unknown; there are gpu, cpu, embedded, monitoring, load, train, train-gpu" ;;
  esac
done
((${#chosen[@]} < 2)) || wrong "PROFILE: only one of ${chosen[*]} at a time; they are the same service on the same ports"
[[ "${chosen[*]}" == embedded || ${#chosen[@]} == 0 || $architecture == x86_64 ]] ||
  wrong "PROFILE=${chosen[*]}: TensorFlow Serving has no image for $architecture; use PROFILE=embedded"

# A bare name would be a volume's for compose.
MODELS=$(realpath -m -- "${MODELS:-models}")
pictures=(${DATA:+--data=data})
DATA=$(realpath -m -- "${DATA:-data}")
export MODELS DATA
for variable in VERSION MODEL RECIPE GRPC_PORT REST_PORT; do
  [[ ${!variable:-} ]] || unset "$variable"
done
# What training writes belongs to whoever asked for it; root inside a container is nobody's wish.
if [[ -z ${VITRINE_USER:-} && $(id -u) != 0 ]]; then
  VITRINE_USER=$(id -u):$(id -g)
  export VITRINE_USER
fi

compose() { docker compose "$@"; }

train() {
  mkdir -p "$MODELS" "$DATA"
  GIT_COMMIT=$(git rev-parse HEAD 2>/dev/null || true)
  export GIT_COMMIT
  local recipe=("--recipe=${RECIPE:-recipes/digits.yaml}" ${MODEL:+--name="$MODEL"})
  set -f
  # shellcheck disable=SC2086  # SET holds words without blanks
  compose run --rm "$1" train "${recipe[@]}" "${pictures[@]}" ${SET:+--set $SET}
  set +f
  for step in export bless publish; do
    compose run --rm "$1" "$step" "${recipe[@]}"
  done
}

for profile in "${training[@]}"; do
  compose --profile "$profile" build "$profile"
  train "$profile"
done
if ((${#chosen[@]} + ${#others[@]} == 0)); then
  [[ ${training[*]} != train ]] || compose --profile train up --detach --wait tensorboard
  exit
fi

running=$(compose --profile '*' ps --services --status running)
for profile in gpu cpu embedded; do
  if grep -qx "${service[$profile]}" <<<"$running"; then
    [[ "${chosen[*]:-$profile}" == "$profile" ]] || fail "${service[$profile]} is up on these ports; \`make down\` first"
    chosen=("$profile")
  fi
done
((${#chosen[@]} == 1)) || wrong "PROFILE=${others[*]}: no server is up; name one too: PROFILE=\"$serving ${others[*]}\""
[[ -d $MODELS ]] || fail "$MODELS: no such folder; \`make train export\`, \`make up PROFILE=train\`, or name another: MODELS=…"

active=()
for profile in "${chosen[@]}" "${others[@]}"; do active+=(--profile "$profile"); done
server=${service[${chosen[0]}]}

# Before anything else is started: a model that is not in the store, or a version that is not.
pinned() { compose "${active[@]}" exec --no-TTY "$server" cat /etc/vitrine/pinned 2>/dev/null || true; }
before=$(pinned)
compose "${active[@]}" run --rm --no-TTY config >&2 || fail 'nothing was started; the reason is above'
if [[ $before && $before != "$(pinned)" ]]; then
  echo 'other versions than the server has: it is started anew' >&2
  compose "${active[@]}" stop "$server"
fi

if ! compose "${active[@]}" up --detach --wait --wait-timeout "${WAIT_SECONDS:-600}"; then
  echo >&2
  # The reason is in the log of what has ended, or is not healthy.
  shape='{{.Service}} {{if eq .State "exited"}}exited:{{.ExitCode}}{{else}}{{.State}}{{end}} {{or .Health "none"}}'
  while read -r name state health; do
    [[ $state == running && $health == @(healthy|none) || $name == config && $state == exited:0 ]] && continue
    compose "${active[@]}" logs --no-log-prefix --tail 20 "$name" >&2
  done < <(compose "${active[@]}" ps --all --format "$shape")
  fail 'not everything came up; the reason is above. `make logs` shows more, `make down` clears away'
fi

where() { compose "${active[@]}" port "$1" "$2" 2>/dev/null || true; }
cat <<END
gRPC        $(where "$server" 8500)
REST        http://$(where "$server" 8501)/v1/models/${MODEL:-digits}
web page    http://$(where ui 8080)
END
for profile in "${others[@]}"; do
  case $profile in
    monitoring) printf 'dashboard   http://%s\nPrometheus  http://%s\n' "$(where grafana 3000)" "$(where prometheus 9090)" ;;
    load) printf 'load        http://%s\n' "$(where load 8089)" ;;
  esac
done
