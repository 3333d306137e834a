package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// LayerOptions say how a tree becomes a layer.
type LayerOptions struct {
	// Root is the catalog's directory in the image, "/configs" if empty.
	Root string
	// Opaque hides what lower layers have in that directory.
	Opaque bool
	// CreatedBy is the layer's line in the image's history.
	CreatedBy string
}

// Layer makes the layer that puts the tree into an image, in the file at path.
func (t *Tree) Layer(ctx context.Context, layers *layer.Store, path string, opts LayerOptions) (sdk.Layer, error) {
	if opts.Root == "" {
		opts.Root = "/configs"
	}
	l, err := layers.Write(ctx, path, opts.CreatedBy, t.layerEntries(opts))
	if err != nil {
		return sdk.Layer{}, fmt.Errorf("layer of catalog: %w", unavailable(err))
	}
	return l, nil
}

func (t *Tree) layerEntries(opts LayerOptions) iter.Seq2[layer.Entry, error] {
	root := path.Join("/", opts.Root)[1:]
	return func(yield func(layer.Entry, error) bool) {
		for e := range t.walk() {
			out := layer.Entry{Name: path.Join(root, e.Path), Mode: e.Mode, UID: e.UID, GID: e.GID}
			if !e.Mode.IsDir() {
				out.Content = []layer.Part{{Size: e.Size, Digest: e.Key.String(), Open: func() (io.ReadCloser, error) { return t.store.reader(e) }}}
			}
			if !yield(out, nil) {
				return
			}
			if e.Path == "." && opts.Opaque && !yield(layer.Opaque(root), nil) {
				return
			}
		}
	}
}

// walk yields directories and files in one order, that of comparePaths.
func (t *Tree) walk() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		files := t.files
		for _, d := range t.dirs {
			for len(files) > 0 && comparePaths(files[0].Path, d.Path) < 0 {
				if !yield(files[0]) {
					return
				}
				files = files[1:]
			}
			if !yield(d) {
				return
			}
		}
		for _, f := range files {
			if !yield(f) {
				return
			}
		}
	}
}

// Extract writes the tree into a directory, which is made if it is not there,
// with its modes but not its owners.
func (t *Tree) Extract(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("extract catalog: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("extract catalog: %w", err)
	}
	defer root.Close()
	for _, d := range t.dirs {
		if err := root.Mkdir(filepath.FromSlash(d.Path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("extract catalog: %w", err)
		}
	}
	for _, e := range t.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.extract(root, e); err != nil {
			return fmt.Errorf("extract catalog: %w", unavailable(err))
		}
	}
	// Last, because a mode may forbid to write into a directory; and deepest
	// first, because it may forbid to enter it.
	for i := len(t.dirs) - 1; i >= 0; i-- {
		if err := root.Chmod(filepath.FromSlash(t.dirs[i].Path), t.dirs[i].Mode.Perm()); err != nil {
			return fmt.Errorf("extract catalog: %w", err)
		}
	}
	return nil
}

func (t *Tree) extract(root *os.Root, e *entry) error {
	r, err := t.store.reader(e)
	if err != nil {
		return err
	}
	defer r.Close()
	name := filepath.FromSlash(e.Path)
	f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(e.Mode.Perm())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
