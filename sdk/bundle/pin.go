package bundle

import (
	"context"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// Pin resolves every pull spec, those by digest too, which proves that the
// images exist, and replaces tags by digests. It reports whether there was a
// tag. Each image is asked for once, all at the same time.
func (b *Bundle) Pin(ctx context.Context, digest DigestFunc) (bool, error) {
	specs, err := b.PullSpecs()
	if err != nil {
		return false, err
	}
	digests, err := forEach(ctx, specs, func(ctx context.Context, spec string) (string, error) {
		d, err := digest(ctx, spec)
		if err == nil && !strings.HasPrefix(d, "sha256:") {
			err = sdk.Errorf(sdk.Internal, "%s: resolved to %q, which is not a sha256 digest", spec, d)
		}
		return d, err
	})
	if err != nil {
		return false, err
	}
	pinned := make(map[PullSpec]PullSpec)
	for i, s := range specs {
		if !s.Pinned() {
			to := s
			to.Tag = digests[i]
			pinned[s] = to
		}
	}
	if len(pinned) == 0 {
		return false, nil
	}
	return true, b.replace(pinned)
}

// RelatedBundles returns the pull specs that name bundle images, as they are
// now, each once.
func (b *Bundle) RelatedBundles(ctx context.Context, labels LabelsFunc) ([]string, error) {
	specs, err := b.PullSpecs()
	if err != nil {
		return nil, err
	}
	bundles, err := bundleImages(ctx, specs, labels)
	if err != nil {
		return nil, err
	}
	related := make([]string, len(bundles))
	for i, s := range bundles {
		related[i] = s.String()
	}
	return related, nil
}
