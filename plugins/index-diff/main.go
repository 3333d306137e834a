// Command index-diff is the handler of index-diff requests: it tells what
// operators, channels and bundles differ between two index images.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "index-diff",
		Doc:      "Tells what differs between two index images.",
		Handlers: map[string]sdk.Handler{requestType: new(handler)},
	})
}

const requestType = "index-diff"
