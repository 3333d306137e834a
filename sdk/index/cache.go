package index

import (
	"context"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/servecache"
)

// checkedCatalog bounds the catalogs whose serve cache opm's own check is run
// on before publication: it reads everything again, which takes longer than
// everything else does for a large catalog. Above the bound the digest that we
// compute is relied on; it is the same algorithm, over the same bytes.
const checkedCatalog = 16 << 20

// addCache makes the layer of opm's serve cache. A cache that does not fit its
// catalog keeps opm from starting, so it is checked before anything is pushed.
func (c *Content) addCache(ctx context.Context, spec *sdk.ImageSpec) error {
	format := servecache.Format(c.session.config.Cache())
	if format == servecache.None {
		return nil
	}
	stores := c.session.stores
	cache, err := stores.caches.Build(ctx, c.tree, format)
	if err != nil {
		return err
	}
	l, err := cache.Layer(ctx, stores.layers, c.layerPath("cache"), servecache.LayerOptions{
		Root: cacheDir, Opaque: true, CreatedBy: "iib: serve cache",
	})
	if err != nil {
		return err
	}
	if c.tree.Size() <= checkedCatalog {
		if err := cache.Check(ctx, filepath.Dir(c.dbPath)); err != nil {
			return sdk.Errorf(sdk.Internal, "opm would not serve the result: %v", err)
		}
	}
	spec.Layers = append(spec.Layers, l)
	return nil
}
