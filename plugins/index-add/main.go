// Command index-add is the handler of add requests: it adds operator bundles
// to an index, file-based or SQLite, and publishes the result.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "index-add",
		Doc:      "Adds operator bundles to an index image.",
		Handlers: map[string]sdk.Handler{"add": new(handler)},
	})
}
