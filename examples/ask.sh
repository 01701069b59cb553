#!/bin/sh
# Asks a model server over REST with curl alone. The server's JSON goes to stdout; curl's exit code is 22 where the
# server refuses, with its reason on stdout, too.
#
#   VITRINE_REST=http://localhost:8501 VITRINE_MODEL=flowers examples/ask.sh predict rose.jpg
#   examples/ask.sh status
#   examples/ask.sh metadata
set -eu

model=${VITRINE_REST:-http://localhost:8501}/v1/models/${VITRINE_MODEL:-digits}

ask() {
    curl --silent --show-error --fail-with-body --max-time 30 "$@"
}

case ${1-}/$# in
predict/2)
    if [ ! -f "$2" ] || [ ! -r "$2" ]; then
        printf 'ask.sh: cannot read %s\n' "$2" >&2
        exit 2
    fi
    # By a pipe: as an argument a picture of 100 kB would be too long. Most versions of base64 break lines, and JSON
    # allows no line break in a string.
    {
        printf '{"instances": [{"b64": "'
        base64 < "$2" | tr -d '\n'
        printf '"}]}'
    } | ask --header 'Content-Type: application/json' --data-binary @- "$model:predict"
    ;;
status/1)
    ask "$model"
    ;;
metadata/1)
    ask "$model/metadata"
    ;;
*)
    printf 'usage: ask.sh predict PICTURE | status | metadata\n' >&2
    exit 2
    ;;
esac
