package index

import (
	"context"

	"github.com/iib-engine/iib/sdk"
)

// addCache makes the layer of opm's serve cache.
func (c *Content) addCache(ctx context.Context, spec *sdk.ImageSpec) error { return nil }
