package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/image"
)

// registryReplacements moves images to other registries.
type registryReplacements struct {
	Replacements map[string]string `hcl:"replacements" doc:"Registry to the one that takes its place, which may be followed by a path."`
}

var (
	_ sdk.Customizer = (*registryReplacements)(nil)
	_ sdk.Validator  = (*registryReplacements)(nil)
)

// Validate checks that an image can have such registries.
func (r *registryReplacements) Validate() error {
	for _, from := range slices.Sorted(maps.Keys(r.Replacements)) {
		to := r.Replacements[from]
		if strings.Contains(from, "/") || !isRegistry(from) {
			return sdk.FieldErrorf("replacements", "replacements: %q is no registry; write its host alone, such as quay.io or registry.example.com:5000", from)
		}
		if !isRegistry(to) {
			return sdk.FieldErrorf("replacements", "replacements: %q, for %s, is no registry; write its host, and a path if there is one", to, from)
		}
	}
	return nil
}

// isRegistry reports whether an image's pull spec can begin with text.
func isRegistry(text string) bool {
	ref, err := image.ParseRef(text + "/name:tag")
	return err == nil && strings.HasPrefix(ref.String(), text+"/")
}

func (r *registryReplacements) Customize(ctx context.Context, b *sdk.Bundle) error {
	return edit(ctx, b, func(unpacked *bundle.Bundle) error { return unpacked.ReplaceRegistries(r.Replacements) })
}

// performBundleReplacements does what bundle_replacements of the request asks
// for. It has no settings.
type performBundleReplacements struct{ *images }

var (
	_ sdk.Customizer = (*performBundleReplacements)(nil)
	_ sdk.Starter    = (*performBundleReplacements)(nil)
)

func (p *performBundleReplacements) Customize(ctx context.Context, b *sdk.Bundle) error {
	return edit(ctx, b, func(unpacked *bundle.Bundle) error {
		return unpacked.ReplaceBundles(ctx, b.Replacements, bundle.Labels(p.of(b)))
	})
}
