package main

import (
	"context"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// resolveImagePullspecs replaces tags by digests. It has no settings.
type resolveImagePullspecs struct{ *images }

var (
	_ sdk.Customizer = (*resolveImagePullspecs)(nil)
	_ sdk.Starter    = (*resolveImagePullspecs)(nil)
)

// Customize resolves every image, which proves that it exists. A bundle that
// was pinned before is left alone, and its images are not looked at.
func (r *resolveImagePullspecs) Customize(ctx context.Context, b *sdk.Bundle) error {
	if b.Pinned {
		b.Logf(ctx, "the bundle was pinned before: its pull specs stay as they are")
		return nil
	}
	return edit(ctx, b, func(unpacked *bundle.Bundle) error {
		replaced, err := unpacked.Pin(ctx, bundle.Digests(r.of(b)))
		if err != nil {
			return err
		}
		if replaced {
			b.SetLabel(bundle.LabelPinned, "true")
		}
		return nil
	})
}
