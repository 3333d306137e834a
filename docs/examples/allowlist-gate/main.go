// Command allowlist-gate is a gate that admits only images from registries
// that its settings list.
package main

import (
	"context"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name: "allowlist-gate",
		Doc:  "Admits only images from known registries.",
		Gate: new(gate),
	})
}

type gate struct {
	Registries []string `hcl:"registries" doc:"Hosts, with a port if it is not the usual one."`
}

func (g *gate) Check(_ context.Context, req *sdk.GateRequest) (sdk.Verdict, error) {
	for _, image := range req.Images {
		if !slices.Contains(g.Registries, image.Registry()) {
			return sdk.Deny("Image %s is not allowed: its registry %s is not on the list. Copy it to one of %q.",
				image, image.Registry(), g.Registries), nil
		}
	}
	return sdk.Allow, nil
}
