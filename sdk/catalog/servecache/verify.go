package servecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/akrylysov/pogreb"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Verify tells whether opm would accept the cache, by the steps of its own
// integrity check, but does each for a file only once in the life of the store:
//
//   - opm's reader reads each catalog file, and gives the normalized metas that
//     the digest was computed from. Files that passed are remembered.
//   - opm's walk visits the files in the order that the digest has.
//   - The pogreb library opens the database that will be published and finds
//     each record by its key; hashed with the metas by the standard library's
//     FNV they give the digest.
//
// It takes a fraction of what Check does, and no space on disk. A JSON cache,
// whose digest covers no normalized metas, is given to Check. dir is a
// directory for temporary files.
func (c *Cache) Verify(ctx context.Context, dir string) error {
	if c.format != Pogreb {
		return c.Check(ctx, dir)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.verifyMetas(gctx) })
	group.Go(func() error { return c.verifyDatabase(gctx, dir) })
	if err := c.verifyOrder(ctx); err != nil {
		return errors.Join(err, group.Wait())
	}
	return group.Wait()
}

// verifiedVersion changes with state, so that what passed is looked at again.
const verifiedVersion = "iib serve cache verified 1\n" + stateVersion + "\n"

// verifyMetas compares the normalized metas of each file with what opm reads
// from it.
func (c *Cache) verifyMetas(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), 8))
	check := func(places []place) {
		name := places[0].File
		key := cas.Sum([]byte(verifiedVersion + c.tree.FileDigest(name)))
		if c.store.states.Has(key) {
			return
		}
		group.Go(func() error {
			if err := c.verifyFile(ctx, name, places); err != nil {
				return err
			}
			// If this is not kept, the file is verified again.
			_ = c.store.states.Put(key, nil)
			return nil
		})
	}
	var file []place
	for at := range c.places() {
		if len(file) > 0 && file[0].File != at.File {
			check(file)
			file = nil
		}
		file = append(file, at)
	}
	if len(file) > 0 {
		check(file)
	}
	return group.Wait()
}

func (c *Cache) verifyFile(ctx context.Context, name string, places []place) error {
	f, err := c.tree.FS().Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	ours := &placeReader{cache: c, rest: places}
	defer ours.Close()
	var buf []byte
	err = declcfg.WalkMetasReader(f, func(m *declcfg.Meta, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		buf = slices.Grow(buf[:0], len(m.Blob))[:len(m.Blob)]
		if _, err := io.ReadFull(ours, buf); err != nil && !ended(err) {
			return err
		} else if err != nil || !bytes.Equal(buf, m.Blob) {
			return refused("file %s: %s %q: opm reads other text than the cache's digest is computed from", name, m.Schema, m.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n, err := ours.Read(make([]byte, 1)); n > 0 {
		return refused("file %s: opm reads fewer metas than the cache's digest is computed from", name)
	} else if !ended(err) {
		return err
	}
	return nil
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// refused is the error for a cache that opm would not serve. It is our fault,
// whatever the catalog.
func refused(format string, args ...any) error {
	return sdk.Errorf(sdk.Internal, "serve cache: %s", fmt.Sprintf(format, args...))
}

// placeReader reads the normalized metas of places, one after the other.
type placeReader struct {
	cache *Cache
	rest  []place
	now   io.ReadCloser
}

func (r *placeReader) Read(p []byte) (int, error) {
	for {
		if r.now == nil {
			if len(r.rest) == 0 {
				return 0, io.EOF
			}
			at := r.rest[0]
			r.rest = r.rest[1:]
			var err error
			if r.now, err = at.state.open(r.cache.store.states, at.off, at.size); err != nil {
				return 0, err
			}
		}
		n, err := r.now.Read(p)
		if err == io.EOF {
			r.Close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *placeReader) Close() {
	if r.now != nil {
		r.now.Close()
		r.now = nil
	}
}

// verifyOrder has opm walk the catalog's files, with a number in the place of
// their content, and compares the order.
func (c *Cache) verifyOrder(ctx context.Context) error {
	stubs := stubFS{FS: c.tree.FS(), numbers: make(map[string]int)}
	for name := range c.tree.CatalogFiles() {
		stubs.numbers[name] = len(stubs.numbers)
	}
	next := 0
	err := declcfg.WalkMetasFS(ctx, stubs, func(name string, m *declcfg.Meta, err error) error {
		if err != nil {
			return err
		}
		if m.Name != strconv.Itoa(next) {
			return refused("opm reads file %s, or reads it in another order", name)
		}
		next++
		return nil
	}, declcfg.WithConcurrency(1))
	if err == nil && next != len(stubs.numbers) {
		err = refused("opm reads %d files of the catalog, not %d", next, len(stubs.numbers))
	}
	return err
}

// stubFS is a catalog with a meta in the place of each file's content, whose
// name is the file's number; "ignored" if it has none.
type stubFS struct {
	fs.FS
	numbers map[string]int
}

func (s stubFS) Open(name string) (fs.File, error) {
	info, err := fs.Stat(s.FS, name)
	if err != nil || info.IsDir() || path.Base(name) == ".indexignore" {
		return s.FS.Open(name)
	}
	number := "ignored"
	if i, ok := s.numbers[name]; ok {
		number = strconv.Itoa(i)
	}
	return &stub{info, strings.NewReader(fmt.Sprintf(`{"schema":"stub","name":%q}`, number))}, nil
}

type stub struct {
	info fs.FileInfo
	*strings.Reader
}

func (s *stub) Stat() (fs.FileInfo, error) { return s.info, nil }
func (s *stub) Close() error               { return nil }

// verifyDatabase opens the database with the library and computes the digest
// from what it returns.
func (c *Cache) verifyDatabase(ctx context.Context, dir string) error {
	l, err := c.layout()
	if err != nil {
		return err
	}
	// The library makes the directory, and then finds the files in the view.
	db, err := pogreb.Open(dir, &pogreb.Options{FileSystem: newView(l)})
	if err != nil {
		return refused("open the database: %v", err)
	}
	defer db.Close()
	keys := []string{packagesKey}
	for _, s := range c.states {
		for _, list := range [][]stateRecord{s.Bundles, s.Customs} {
			for _, r := range list {
				keys = append(keys, r.Key)
			}
		}
	}
	if n := int(db.Count()); n != len(keys) {
		return refused("the database has %d records, not %d", n, len(keys))
	}
	slices.Sort(keys)

	sum := fnv.New64a()
	for at := range c.places() {
		if err := c.copyPlace(ctx, sum, at); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		value, err := db.Get([]byte(key))
		if err != nil {
			return fmt.Errorf("serve cache: read record %s: %w", key, err)
		}
		if value == nil {
			return refused("the database does not find record %s", key)
		}
		_, _ = io.WriteString(sum, key)
		_, _ = sum.Write(value)
	}
	// It is computed for the layer at the same time.
	want, err := c.Digest(ctx)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want {
		return refused("its digest is %s, but its content gives %s", want, got)
	}
	return nil
}

func (c *Cache) copyPlace(ctx context.Context, w io.Writer, at place) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &placeReader{cache: c, rest: []place{at}}
	defer r.Close()
	_, err := io.Copy(w, r)
	return err
}
