#!/bin/sh
# Regenerates vitrine_client/wire/*_pb2.py and *_pb2.pyi from the .proto files beside them.
# Usage: clients/generate_protos.sh    (PYTHON: 3.10 to 3.12, for which the pinned protoc has wheels)
set -eu
cd "$(dirname "$0")"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install --quiet --require-hashes -r requirements-protos.txt
"$tools/bin/python" -m grpc_tools.protoc -I . --python_out=. --pyi_out=. vitrine_client/wire/*.proto
# This protoc leaves a type argument out, which strict type checks report.
for stub in vitrine_client/wire/*_pb2.pyi; do
    { echo '# mypy: disable-error-code="type-arg"'; cat "$stub"; } > "$tools/stub"
    cat "$tools/stub" > "$stub"
done
