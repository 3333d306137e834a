// Command add-deprecations is the handler of add-deprecations requests: it sets what an
// operator declares deprecated in a file-based index.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "add-deprecations",
		Doc:      "Sets the deprecations of an operator in an index image.",
		Handlers: map[string]sdk.Handler{"add-deprecations": new(handler)},
	})
}
