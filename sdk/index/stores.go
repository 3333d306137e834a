package index

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/servecache"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// stores are what a warm engine keeps of indexes: catalogs, pieces of layers,
// unpacked databases. All of it can be made again from the images.
type stores struct {
	// client serves all jobs: what one has read or learned of a registry, the
	// next need not.
	client    *image.Client
	layers    *layer.Store
	trees     *tree.Store
	caches    *servecache.Store
	databases databases
	refs      refs
}

// storeOpener opens the stores of a cache directory once for all jobs.
type storeOpener struct {
	mu   sync.Mutex
	dir  string
	open *stores
}

func (o *storeOpener) in(dir string) (*stores, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open != nil && o.dir == dir {
		return o.open, nil
	}
	layers, err := layer.Open(filepath.Join(dir, "layers"), layer.Options{})
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open the store of layers: %v", err)
	}
	trees, err := tree.Open(filepath.Join(dir, "catalogs"), tree.Options{})
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open the store of catalogs: %v", err)
	}
	caches, err := servecache.Open(filepath.Join(dir, "serve-caches"), servecache.Options{})
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "open the store of serve caches: %v", err)
	}
	path := filepath.Join(dir, "databases")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "make the store of databases: %v", err)
	}
	client := image.New(image.Options{CacheDir: filepath.Join(dir, "images")})
	o.dir, o.open = dir, &stores{client: client, layers: layers, trees: trees, caches: caches, databases: databases{path}}
	return o.open, nil
}

// databases keeps unpacked index.db files by content key. A file is never
// changed once it is there: requests work on copies.
type databases struct{ dir string }

// keepDatabases bounds the bytes of databases that are kept.
const keepDatabases = 8 << 30

// copy puts the database of a key at path, and reports whether it is kept.
func (d databases) copy(key, path string) (bool, error) {
	source, err := os.Open(d.file(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, sdk.Errorf(sdk.Unavailable, "open a kept database: %v", err)
	}
	defer source.Close()
	now := time.Now()
	_ = os.Chtimes(source.Name(), now, now)
	target, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, sdk.Errorf(sdk.Unavailable, "copy a database: %v", err)
	}
	_, err = io.Copy(target, source)
	if err := errors.Join(err, target.Close()); err != nil {
		return false, sdk.Errorf(sdk.Unavailable, "copy a database: %v", err)
	}
	return true, nil
}

// keep takes over the file at path under a key. What is over the bound goes,
// the least recently used first. A failure only costs time later.
func (d databases) keep(key, path string) {
	if os.Link(path, d.file(key)) != nil {
		return
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	var total int64
	for _, info := range infos {
		if total += info.Size(); total > keepDatabases {
			_ = os.Remove(filepath.Join(d.dir, info.Name()))
		}
	}
}

// setAbsent notes that an image has no database under a key: to find that out
// takes reading all of its layers.
func (d databases) setAbsent(key string) { _ = os.WriteFile(d.file(key)+".absent", nil, 0o600) }

func (d databases) absent(key string) bool {
	_, err := os.Stat(d.file(key) + ".absent")
	return err == nil
}

func (d databases) file(key string) string { return filepath.Join(d.dir, key+".db") }
