// Command omps takes operators in package-manifest form: a service that judges
// archives of manifests and pushes them to an application registry, which it
// can be itself.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:    "omps",
		Doc:     "Takes operators in package-manifest form, and keeps or forwards them.",
		Service: newService(),
	})
}
