// Command annotate-customizer is a customizer that sets labels on the images of
// an organization's bundles.
package main

import (
	"context"
	"maps"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:        "annotate-customizer",
		Doc:         "Sets labels on bundle images.",
		Customizers: map[string]sdk.Customizer{"annotate": new(annotate)},
	})
}

type annotate struct {
	Labels map[string]string `hcl:"labels" doc:"Labels to set; an existing one is replaced."`
}

func (a *annotate) Customize(ctx context.Context, b *sdk.Bundle) error {
	if b.Labels == nil {
		b.Labels = make(map[string]string)
	}
	maps.Copy(b.Labels, a.Labels)
	b.Logf(ctx, "set %d labels on %s", len(a.Labels), b.Image)
	return nil
}
