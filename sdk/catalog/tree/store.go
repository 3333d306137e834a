package tree

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Options are a store's options.
type Options struct {
	// Limit is how many bytes of catalogs to keep; zero means 4 GiB.
	Limit  int64
	Limits Limits
}

// Store keeps catalogs on disk. It is safe for concurrent use, by several
// processes too. Its directory may be deleted at any time: a tree in use then
// fails with code Unavailable, and is imported anew by the next try.
type Store struct {
	blobs  *cas.Store
	limits Limits
	flight flight
}

// Open returns the store in dir, and creates it if it is not there.
func Open(dir string, opts Options) (*Store, error) {
	if opts.Limit == 0 {
		opts.Limit = 4 << 30
	}
	blobs, err := cas.Open(dir, cas.Options{Limit: opts.Limit})
	if err != nil {
		return nil, fmt.Errorf("open catalog store: %w", err)
	}
	return &Store{blobs: blobs, limits: opts.Limits.withDefaults()}, nil
}

// errLost is the cause when the store was deleted or trimmed under a tree.
var errLost = errors.New("content is no longer in the store")

// blob opens a file's content. What is gone will be there again after another
// import, hence Unavailable.
func (s *Store) blob(e *entry) (*cas.File, error) {
	f, err := s.blobs.Open(e.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.Unavailable, "catalog file %s: %w", e.Path, errLost)
	}
	if err != nil {
		return nil, fmt.Errorf("catalog file %s: %w", e.Path, err)
	}
	return f, nil
}

// reader opens a file's content for reading once, verified.
func (s *Store) reader(e *entry) (io.ReadCloser, error) {
	f, err := s.blob(e)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{f.Reader(), f}, nil
}

// manifest is how a tree is remembered.
type manifest struct {
	Dirs  []*entry
	Files []*entry
}

// manifestVersion changes with manifest, scan and what scanning finds.
const manifestVersion = "iib catalog tree 1\n"

func manifestKey(key string) cas.Key { return cas.Sum([]byte(manifestVersion + key)) }

// Remember keeps the tree under a key, for Lookup and Import. The key is any
// string that stands for the content, such as the digests of an index's
// catalog layers.
func (s *Store) Remember(t *Tree, key string) error {
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(manifest{t.dirs, t.files}); err != nil {
		return fmt.Errorf("remember catalog: %w", err)
	}
	k := manifestKey(key)
	if err := s.blobs.Remove(k); err != nil {
		return fmt.Errorf("remember catalog: %w", err)
	}
	if err := s.blobs.Put(k, buf.Bytes()); err != nil {
		return fmt.Errorf("remember catalog: %w", err)
	}
	return nil
}

// Lookup returns the tree remembered under a key. An error of code NotFound
// tells that there is none, or not all of it.
func (s *Store) Lookup(key string) (*Tree, error) {
	missing := sdk.Errorf(sdk.NotFound, "catalog %s: not in the store", key)
	data, err := s.blobs.Get(manifestKey(key), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		return nil, fmt.Errorf("look up catalog: %w", err)
	}
	var m manifest
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&m); err != nil {
		return nil, missing
	}
	for _, e := range m.Files {
		if !s.blobs.Has(e.Key) {
			return nil, missing
		}
	}
	return newTree(s, m.Dirs, m.Files)
}
