// Command index-merge is the handler of merge-index-image requests: it adds
// to one index what only another one has.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "index-merge",
		Doc:      "Carries the operators of one index image into another.",
		Handlers: map[string]sdk.Handler{"merge-index-image": new(handler)},
	})
}
