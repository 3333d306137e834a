#!/bin/sh
# Regenerates sdk/internal/pb from the protocol's source. Needs protoc; the two
# plugins are the versions that go.mod pins.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin" \
	google.golang.org/protobuf/cmd/protoc-gen-go \
	google.golang.org/grpc/cmd/protoc-gen-go-grpc
rm -f sdk/internal/pb/*.pb.go
protoc -I sdk/proto \
	--plugin="$bin/protoc-gen-go" --plugin="$bin/protoc-gen-go-grpc" \
	--go_out=. --go_opt=module=github.com/iib-engine/iib \
	--go-grpc_out=. --go-grpc_opt=module=github.com/iib-engine/iib \
	sdk/proto/iib/plugin/v1/*.proto
