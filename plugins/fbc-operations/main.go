// Command fbc-operations is the handler of fbc-operations requests: it puts the
// packages of catalog fragments into a file-based index.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "fbc-operations",
		Doc:      "Puts file-based catalog fragments into an index image.",
		Handlers: map[string]sdk.Handler{"fbc-operations": new(handler)},
	})
}
