package servecache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"path"
	"sync"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// Cache is the serve cache of one catalog. Its content lies in the store and is
// read when it is needed. Its methods are safe for concurrent use.
type Cache struct {
	store  *Store
	tree   *tree.Tree
	format Format
	// states are in the order of the keys that their records have.
	states []*state
	// packages is the summary of all packages.
	packages []byte

	digest struct {
		sync.Mutex
		value string
	}
}

// index puts the summary of the packages together.
func (c *Cache) index() error {
	var size int64
	for _, s := range c.states {
		size += s.Sections[summarySection] + 1
	}
	var buf bytes.Buffer
	buf.Grow(int(size) + 2 + bytes.MinRead)
	buf.WriteByte('{')
	for _, s := range c.states {
		if s.Sections[summarySection] == 0 {
			continue
		}
		if buf.Len() > 1 {
			buf.WriteByte(',')
		}
		r, err := s.openSection(c.store.states, summarySection)
		if err != nil {
			return err
		}
		_, err = buf.ReadFrom(r)
		r.Close()
		if err != nil {
			return readError(s, err)
		}
	}
	buf.WriteByte('}')
	c.packages = buf.Bytes()
	return nil
}

// Format is the format that the cache was built in.
func (c *Cache) Format() Format { return c.format }

// Digest is what opm compares with what it finds. Computing it reads the whole
// catalog and cache, once.
func (c *Cache) Digest(ctx context.Context) (string, error) {
	c.digest.Lock()
	defer c.digest.Unlock()
	if c.digest.value != "" {
		return c.digest.value, nil
	}
	compute := c.pogrebDigest
	if c.format == JSON {
		compute = c.jsonDigest
	}
	value, err := compute(ctx)
	if err != nil {
		return "", fmt.Errorf("serve cache digest: %w", err)
	}
	c.digest.value = value
	return value, nil
}

// LayerOptions say how a cache becomes a layer.
type LayerOptions struct {
	// Root is the cache's directory in the image, "/tmp/cache" if empty.
	Root string
	// Opaque hides what lower layers have in that directory.
	Opaque bool
	// CreatedBy is the layer's line in the image's history.
	CreatedBy string
}

// owner is the user of opm images; its group is 0.
const owner = 1001

// Layer makes the layer that puts the cache into an image, in the file at path.
func (c *Cache) Layer(ctx context.Context, layers *layer.Store, path string, opts LayerOptions) (sdk.Layer, error) {
	if opts.Root == "" {
		opts.Root = "/tmp/cache"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The digest is the last file of the layer, so it is computed beside it.
	digest := c.digestLater(ctx)
	l, err := layers.Write(ctx, path, opts.CreatedBy, c.layerEntries(opts, digest))
	if err != nil {
		return sdk.Layer{}, fmt.Errorf("layer of serve cache: %w", err)
	}
	return l, nil
}

// digestLater starts computing the digest and returns where to wait for it.
func (c *Cache) digestLater(ctx context.Context) func() (string, error) {
	type result struct {
		value string
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := c.Digest(ctx)
		done <- result{value, err}
	}()
	return sync.OnceValues(func() (string, error) {
		r := <-done
		return r.value, r.err
	})
}

// entries yields the cache's files and directories, the root as ".".
func (c *Cache) entries(digest func() (string, error)) iter.Seq2[layer.Entry, error] {
	if c.format == JSON {
		return c.jsonEntries(digest)
	}
	return c.pogrebEntries(digest)
}

func (c *Cache) layerEntries(opts LayerOptions, digest func() (string, error)) iter.Seq2[layer.Entry, error] {
	root := path.Join("/", opts.Root)[1:]
	return func(yield func(layer.Entry, error) bool) {
		for e, err := range c.entries(digest) {
			isRoot := e.Name == "."
			e.Name, e.UID = path.Join(root, e.Name), owner
			if !yield(e, err) || err != nil {
				return
			}
			if isRoot && opts.Opaque && !yield(layer.Opaque(root), nil) {
				return
			}
		}
	}
}

func (c *Cache) dir(name string) layer.Entry { return layer.Directory(name, c.format.dirMode()) }

func (c *Cache) file(name string, content ...layer.Part) layer.Entry {
	return layer.Entry{Name: name, Mode: c.format.fileMode(), Content: content}
}

// sectionPart is a section of a state.
func (c *Cache) sectionPart(s *state, section int) layer.Part {
	return layer.Part{Size: s.Sections[section], Open: func() (io.ReadCloser, error) { return s.openSection(c.store.states, section) }}
}

// recordPart is a record of a state, which begins at off.
func (c *Cache) recordPart(s *state, off int64, r stateRecord) layer.Part {
	return layer.Part{Size: r.Frame, Open: func() (io.ReadCloser, error) { return s.openRecord(c.store.states, off, r) }}
}
