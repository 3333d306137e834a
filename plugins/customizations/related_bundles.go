package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// relatedBundles stores which bundle images the bundle names, as they are
// named at this point of the list. It has no settings.
type relatedBundles struct{ *images }

var (
	_ sdk.Customizer = (*relatedBundles)(nil)
	_ sdk.Starter    = (*relatedBundles)(nil)
)

// artifact is how the handler of regenerate-bundle calls the file.
const artifact = "related_bundles"

// Customize writes the list, which is an empty one if there are none.
func (r *relatedBundles) Customize(ctx context.Context, b *sdk.Bundle) error {
	return edit(ctx, b, func(unpacked *bundle.Bundle) error {
		related, err := unpacked.RelatedBundles(ctx, bundle.Labels(r.of(b)))
		if err != nil {
			return err
		}
		data, err := json.Marshal(related)
		if err != nil {
			return sdk.Errorf(sdk.Internal, "encode the related bundles: %v", err)
		}
		path := filepath.Join(filepath.Dir(b.Dir), artifact+".json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return sdk.Errorf(sdk.Internal, "write the related bundles: %v", err)
		}
		b.Logf(ctx, "found %d related bundles", len(related))
		return b.Artifact(ctx, artifact, path)
	})
}
