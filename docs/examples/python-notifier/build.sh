#!/bin/sh
# Makes the plugin: one file, which the engine starts and whose checksum it can
# verify. Usage: build.sh <path of the plugin>
set -eu
here=$(dirname "$0")
proto=$here/../../../sdk/proto
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
protoc -I "$proto" --python_out="$parts" iib/plugin/v1/common.proto iib/plugin/v1/plugin.proto iib/plugin/v1/notifier.proto
cp "$here/notifier.py" "$parts/__main__.py"
/usr/bin/python3 -m zipapp --python /usr/bin/python3 --output "$1" "$parts"
