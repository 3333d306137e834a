// Command related-bundles is the handler of recursive-related-bundles
// requests: it lists all bundles that a bundle needs, and those that they need.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "related-bundles",
		Doc:      "Lists the bundles that a bundle relates to, directly or not.",
		Handlers: map[string]sdk.Handler{requestType: new(handler)},
	})
}

const requestType = "recursive-related-bundles"
