// Command regenerate-bundle is the handler of regenerate-bundle requests: it
// makes a bundle image anew with what an organization's customizations change.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "regenerate-bundle",
		Doc:      "Regenerates bundle images: pins and customizes what they name.",
		Handlers: map[string]sdk.Handler{requestType: new(handler)},
	})
}

const requestType = "regenerate-bundle"
