package index

import (
	"context"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/servecache"
)

// addCache makes the layer of opm's serve cache. A cache that does not fit its
// catalog keeps opm from starting, so every cache is verified by the steps of
// opm's own integrity check: that runs beside the making of the layer and the
// upload, and accepted tells its verdict before a tag moves.
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
	c.verdict = later(ctx, func(ctx context.Context) error { return cache.Verify(ctx, filepath.Dir(c.dbPath)) })
	l, err := cache.Layer(ctx, stores.layers, c.layerPath("cache"), servecache.LayerOptions{
		Root: cacheDir, Opaque: true, CreatedBy: "iib: serve cache",
	})
	if err != nil {
		return err
	}
	spec.Layers = append(spec.Layers, l)
	return nil
}

// accepted waits until the serve cache was verified. An error tells that opm
// would not serve the index.
func (c *Content) accepted() error {
	if c.verdict == nil {
		return nil
	}
	if err := c.verdict.wait(); err != nil {
		return sdk.Errorf(sdk.CodeOf(err), "opm would not serve the result: %v", err)
	}
	return nil
}

// task is work that goes on beside other work.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func later(ctx context.Context, work func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = work(ctx)
	}()
	return t
}

func (t *task) wait() error {
	<-t.done
	return t.err
}

// stop ends the work, if it has not ended, and waits for that.
func (t *task) stop() {
	t.cancel()
	<-t.done
}
