package servecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	pogrebfs "github.com/akrylysov/pogreb/fs"
	"github.com/operator-framework/operator-registry/pkg/cache"

	"github.com/iib-engine/iib/sdk/image/layer"
)

// Extract writes the cache into a directory, which is made if it is not there,
// with its modes but not its owner.
func (c *Cache) Extract(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("extract serve cache: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("extract serve cache: %w", err)
	}
	defer root.Close()
	digest := func() (string, error) { return c.Digest(ctx) }
	for e, err := range c.entries(digest) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = extract(root, &e)
		}
		if err != nil {
			return fmt.Errorf("extract serve cache: %w", err)
		}
	}
	return nil
}

func extract(root *os.Root, e *layer.Entry) error {
	name := filepath.FromSlash(e.Name)
	if e.Mode.IsDir() {
		if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return root.Chmod(name, e.Mode.Perm())
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, p := range e.Content {
		if err == nil && p.Size > 0 {
			err = appendPart(f, p)
		}
	}
	if err == nil {
		err = f.Chmod(e.Mode.Perm())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func appendPart(w io.Writer, p layer.Part) error {
	r, err := p.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// Check extracts the cache below dir, runs opm's own integrity check on it and
// the catalog, and removes it again. An error tells that opm would refuse to
// serve the two.
func (c *Cache) Check(ctx context.Context, dir string) error {
	temp, err := os.MkdirTemp(dir, "serve-cache-*")
	if err != nil {
		return fmt.Errorf("check serve cache: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := c.Extract(ctx, temp); err != nil {
		return err
	}
	if err := CheckDir(ctx, temp, c.tree.FS()); err != nil {
		return fmt.Errorf("check serve cache: %w", err)
	}
	return nil
}

// CheckDir runs opm's own integrity check on a cache's directory and the
// catalog that it is for.
func CheckDir(ctx context.Context, dir string, catalog fs.FS) error {
	reference, err := openReference(dir)
	if err != nil {
		return err
	}
	err = reference.CheckIntegrity(ctx, catalog)
	return errors.Join(err, reference.Close())
}

var opening sync.Mutex

// openReference opens a cache such that its database is read, not mapped into
// memory: all of it is read once, and mapped it would count as our memory. opm
// takes the way from this variable, and only when it opens a database.
func openReference(dir string) (cache.Cache, error) {
	opening.Lock()
	defer opening.Unlock()
	mapped := pogrebfs.OSMMap
	pogrebfs.OSMMap = pogrebfs.OS
	defer func() { pogrebfs.OSMMap = mapped }()
	return cache.New(dir)
}
