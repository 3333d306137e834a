package servecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Options bound a store.
type Options struct {
	// Limit is how many bytes of states to keep; zero means 8 GiB. The states
	// of a catalog are about seven times as large as its JSON.
	Limit int64
	// Memory is how many bytes of metas to decode at once, besides one package
	// of any size; zero means 4 MiB. Decoding needs a multiple of it.
	Memory int64
}

// Store keeps what packages give to serve caches. It is safe for concurrent
// use, by several processes too, and its directory may be deleted at any time.
type Store struct {
	states *cas.Store
	memory int64
}

// Open returns the store in dir, and creates it if it is not there.
func Open(dir string, opts Options) (*Store, error) {
	opts.Limit = cmp.Or(opts.Limit, 8<<30)
	states, err := cas.Open(dir, cas.Options{Limit: opts.Limit})
	if err != nil {
		return nil, fmt.Errorf("open serve cache store: %w", err)
	}
	return &Store{states: states, memory: cmp.Or(opts.Memory, 4<<20)}, nil
}

// Build returns the serve cache of a catalog in a format other than None. It
// makes what the store does not have of the catalog's packages. A catalog that
// opm could not serve is refused with code Invalid, and the package is named.
func (s *Store) Build(ctx context.Context, t *tree.Tree, format Format) (*Cache, error) {
	if format != Pogreb && format != JSON {
		return nil, sdk.Errorf(sdk.Internal, "serve cache format %q: nothing to build", format)
	}
	names := t.Packages()
	if t.Has("") {
		names = append(names, "")
	}
	// The order of the keys that begin with these names and a slash.
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(a+"/", b+"/") })
	c := &Cache{store: s, tree: t, format: format, states: make([]*state, len(names))}

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), 8))
	memory := semaphore.NewWeighted(s.memory)
	for i, name := range names {
		group.Go(func() (err error) {
			c.states[i], err = s.state(ctx, t, format, name, memory)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return c, c.index()
}

// state finds or makes a package's state.
func (s *Store) state(ctx context.Context, t *tree.Tree, format Format, pkg string, memory *semaphore.Weighted) (*state, error) {
	key := stateKey(format, t.PackageDigest(pkg))
	found, err := loadState(s.states, pkg, key)
	if err == nil {
		return found, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("serve cache: %w", err)
	}
	// Large packages are decoded one after the other.
	weight := min(t.PackageSize(pkg), s.memory)
	if err := memory.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer memory.Release(weight)
	metas, err := t.Metas(ctx, pkg)
	if err != nil {
		return nil, err
	}
	w, err := s.states.Create()
	if err != nil {
		return nil, fmt.Errorf("serve cache: %w", err)
	}
	defer w.Abort()
	out := &stateWriter{w: w}
	if err := compile(ctx, format.encoding(), pkg, metas, out); err != nil {
		return nil, err
	}
	if err := out.finish(key); err != nil {
		return nil, fmt.Errorf("serve cache: %w", err)
	}
	out.state.pkg, out.state.key = pkg, key
	return &out.state, nil
}
