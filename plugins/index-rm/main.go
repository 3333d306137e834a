// Command index-rm is the handler of rm requests: it removes operators from an
// index, file-based or SQLite, and publishes the result.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "index-rm",
		Doc:      "Removes operators from an index image.",
		Handlers: map[string]sdk.Handler{"rm": new(handler)},
	})
}
