#!/usr/bin/env bash
# Is every pinned version AVAILABLE? For HEALTHCHECK, in any image with bash: TensorFlow Serving's has no curl.
#
#   healthcheck.bash              the models and versions in /etc/vitrine/pinned; without that file, /readyz
#   healthcheck.bash PORT PATH    whatever answers 200 there
#
# Docker restarts what ends, not what hangs. So with RESTART_AFTER=N, a server that was healthy once and then fails
# for N checks in a row is killed, and its container's restart policy does the rest. That takes an init process in the
# container, whose child the server is.
set -u

state=/tmp/vitrine-health
port=${REST_PORT:-8501}
pinned=${PINNED:-/etc/vitrine/pinned}
restart_after=${RESTART_AFTER:-0}

# ask PORT PATH: the answer, headers and all; fails where nobody answers within 3 seconds.
ask() {
  timeout 3 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" &&
    printf "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" "$2" >&3 &&
    cat <&3' ask "$1" "$2" 2>/dev/null
}

answers_ok() {
  [[ $(ask "$1" "$2") == HTTP/1.?' 200 '* ]] || { echo "port $1 does not answer $2 with 200"; return 1; }
}

versions_available() {
  local model version answer
  while read -r model version; do
    answer=$(ask "$port" "/v1/models/$model/versions/$version") || { echo "port $port does not answer"; return 1; }
    # The answer has this one version in it, with one state.
    [[ $answer =~ \"state\":\ *\"AVAILABLE\" ]] || { echo "version $version of $model is not AVAILABLE"; return 1; }
  done <"$pinned"
}

check() {
  if (($# == 2)); then
    answers_ok "$@"
  elif [[ -e $pinned ]]; then
    versions_available
  else
    answers_ok "$port" /readyz
  fi
}

# Counted before asking, for docker kills a check that takes too long.
failures=0
if [[ -s $state ]]; then
  read -r failures <"$state"
  echo $((failures + 1)) >"$state"
fi
if reason=$(check "$@"); then
  # From now on it was healthy once.
  echo 0 >"$state"
  exit 0
fi
echo "${reason:-no answer}"
if [[ -s $state ]] && ((restart_after > 0 && failures + 1 >= restart_after)); then
  echo "unhealthy $((failures + 1)) times in a row: killed, to be started anew"
  rm -f "$state"
  # shellcheck disable=SC2046  # one number for each child of the init process
  kill -KILL $(</proc/1/task/1/children)
fi
exit 1
