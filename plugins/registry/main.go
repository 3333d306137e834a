// Command registry is the embedded container registry: a service that keeps
// images in the engine's data directory, and remembers what every tag has ever
// meant.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:    "registry",
		Doc:     "Keeps images and the history of their tags, at /v2/ and /api/v1/repository/.",
		Service: newService(),
	})
}
