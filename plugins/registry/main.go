// Command registry is the embedded container registry: a service that the
// engine mounts at /v2/ on its own port.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:    "registry",
		Doc:     "Keeps images in the engine's data directory and serves them at /v2/.",
		Service: new(service),
	})
}
