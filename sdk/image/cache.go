package image

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// cache keeps content by digest in a directory that other processes may use
// too. Trouble with the disk makes it forget, never fail: what it loses can be
// read from the registry again.
type cache struct {
	dir   string
	limit int64

	mu sync.Mutex
	// fresh is how much was written since the last sweep.
	fresh int64
	swept bool
}

// cacheKind is a sort of content; each has its own directory.
type cacheKind string

const (
	// blobs are what registries hold: manifests, configs and layers.
	blobs cacheKind = "blobs"
	// tables are the tables of contents of layers, by the layer's digest.
	tables cacheKind = "tables"
	// partial holds files that are being written.
	partial cacheKind = "partial"
)

// newCache returns a cache that keeps nothing when dir is empty.
func newCache(dir string, limit int64) *cache { return &cache{dir: dir, limit: limit} }

func (c *cache) path(kind cacheKind, digest sdk.Digest) string {
	hex := string(digest[len(digestPrefix):])
	return filepath.Join(c.dir, string(kind), hex[:2], hex)
}

// read returns a whole blob, verified.
func (c *cache) read(digest sdk.Digest, limit int64) ([]byte, bool) {
	f, ok := c.open(blobs, digest)
	if !ok {
		return nil, false
	}
	defer f.Close()
	data, fits, err := readBounded(f, limit)
	if err != nil || !fits {
		return nil, false
	}
	if sum(data) != digest {
		c.drop(digest)
		return nil, false
	}
	return data, true
}

// open returns a file that stays readable when the cache forgets it.
func (c *cache) open(kind cacheKind, digest sdk.Digest) (*os.File, bool) {
	if c.dir == "" {
		return nil, false
	}
	path := c.path(kind, digest)
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now)
	return f, true
}

// drop forgets a blob that turned out to be damaged.
func (c *cache) drop(digest sdk.Digest) {
	if c.dir != "" {
		_ = os.Remove(c.path(blobs, digest))
	}
}

// write keeps a blob that has been verified.
func (c *cache) write(digest sdk.Digest, data []byte) { c.writeKind(blobs, digest, data) }

func (c *cache) writeKind(kind cacheKind, digest sdk.Digest, data []byte) {
	if c.dir == "" {
		return
	}
	f, err := c.create()
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		_ = os.Remove(f.Name())
		return
	}
	c.keep(kind, digest, f, int64(len(data)))
}

// create returns a new file to be given to keep or removed. Without a cache
// directory it lies in the system's.
func (c *cache) create() (*os.File, error) {
	if c.dir == "" {
		return os.CreateTemp("", "blob-")
	}
	dir := filepath.Join(c.dir, string(partial))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, "blob-")
}

// keep moves a complete, verified file to its place. Where that is not
// possible the file is removed; open handles to it stay good either way.
func (c *cache) keep(kind cacheKind, digest sdk.Digest, f *os.File, size int64) {
	if c.dir == "" || size > c.limit/2 {
		_ = os.Remove(f.Name())
		return
	}
	path := c.path(kind, digest)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return
	}
	c.grew(size)
}

// grew sweeps when enough was written that the limit may be passed. The first
// write of a process sweeps too: it does not know what it found.
func (c *cache) grew(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh += size
	if c.swept && c.fresh < c.limit/16 {
		return
	}
	c.fresh, c.swept = 0, true
	c.sweep()
}

// sweep removes the least recently used files until the rest fits with room to
// grow until the next sweep.
func (c *cache) sweep() {
	type file struct {
		path string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	abandoned := time.Now().Add(-24 * time.Hour)
	for _, kind := range []cacheKind{blobs, tables, partial} {
		_ = filepath.WalkDir(filepath.Join(c.dir, string(kind)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if kind == partial {
				if info.ModTime().Before(abandoned) {
					_ = os.Remove(path)
				}
				return nil
			}
			files = append(files, file{path, info.Size(), info.ModTime()})
			total += info.Size()
			return nil
		})
	}
	goal := c.limit - c.limit/8
	if total <= goal {
		return
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path))
	})
	for _, f := range files {
		if total <= goal {
			return
		}
		if os.Remove(f.path) == nil {
			total -= f.size
		}
	}
}
