// Command index-empty is the handler of create-empty-index requests: it makes an index
// without operators that otherwise is like another.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "index-empty",
		Doc:      "Makes an index image without operators.",
		Handlers: map[string]sdk.Handler{"create-empty-index": new(handler)},
	})
}
