package servecache

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk/image/layer"
)

// jsonDir is the directory of the JSON cache's files, beside the digest.
const jsonDir = "cache"

// jsonNode is a file or directory of the JSON cache, below jsonDir; "." is
// jsonDir itself.
type jsonNode struct {
	name    string
	dir     bool
	content layer.Part
}

// jsonNodes are the cache's files and directories as fs.WalkDir visits them.
func (c *Cache) jsonNodes() []jsonNode {
	nodes := []jsonNode{{name: ".", dir: true}, {name: jsonPackages, content: layer.Bytes(c.packages)}}
	dirs := make(map[string]bool)
	for _, s := range c.states {
		off := s.offset(bundleSection)
		for _, list := range [][]stateRecord{s.Bundles, s.Customs} {
			for _, r := range list {
				nodes = append(nodes, jsonNode{name: r.Key, content: c.recordPart(s, off, r)})
				off += r.Frame
				for dir := path.Dir(r.Key); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
					dirs[dir] = true
					nodes = append(nodes, jsonNode{name: dir, dir: true})
				}
			}
		}
	}
	// A zero byte for the slash makes the order of strings that of paths.
	order := func(n jsonNode) string { return strings.ReplaceAll(strings.TrimPrefix(n.name, "."), "/", "\x00") }
	slices.SortFunc(nodes, func(a, b jsonNode) int { return strings.Compare(order(a), order(b)) })
	return nodes
}

func (c *Cache) jsonEntries(digest func() (string, error)) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		if !yield(c.dir("."), nil) {
			return
		}
		for _, n := range c.jsonNodes() {
			e := c.dir(path.Join(jsonDir, n.name))
			if !n.dir {
				e = c.file(path.Join(jsonDir, n.name), n.content)
			}
			if !yield(e, nil) {
				return
			}
		}
		value, err := digest()
		if err != nil {
			yield(layer.Entry{}, err)
			return
		}
		yield(c.file("digest", layer.Bytes([]byte(value))), nil)
	}
}

// jsonDigest is opm's digest of a catalog and its JSON cache: a tar archive of
// the one, then one of the other, with their modes, without owners and times.
func (c *Cache) jsonDigest(ctx context.Context) (string, error) {
	h := fnvOffset
	if err := hashCatalog(ctx, &h, c.tree.FS()); err != nil {
		return "", err
	}
	w := tar.NewWriter(&h)
	for _, n := range c.jsonNodes() {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		info := nodeInfo{name: n.name, size: n.content.Size, mode: c.format.fileMode()}
		if n.dir {
			info.mode = fs.ModeDir | c.format.dirMode()
		}
		if err := hashFile(w, n.name, info, n.content.Open); err != nil {
			return "", err
		}
	}
	// Closing writes the archive's end, which is part of the digest.
	if err := w.Close(); err != nil {
		return "", err
	}
	return h.String(), nil
}

func hashCatalog(ctx context.Context, h io.Writer, fsys fs.FS) error {
	w := tar.NewWriter(h)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return hashFile(w, name, info, func() (io.ReadCloser, error) { return fsys.Open(name) })
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func hashFile(w *tar.Writer, name string, info fs.FileInfo, open func() (io.ReadCloser, error)) error {
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return fmt.Errorf("file %s: %w", name, err)
	}
	// opm names directories without the slash.
	header.Name = name
	header.ModTime = time.Time{}
	if err := w.WriteHeader(header); err != nil {
		return fmt.Errorf("file %s: %w", name, err)
	}
	if info.IsDir() || info.Size() == 0 {
		return nil
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("file %s: %w", name, err)
	}
	return nil
}

// nodeInfo describes a file that is not on disk.
type nodeInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (n nodeInfo) Name() string       { return path.Base(n.name) }
func (n nodeInfo) Size() int64        { return n.size }
func (n nodeInfo) Mode() fs.FileMode  { return n.mode }
func (n nodeInfo) ModTime() time.Time { return time.Time{} }
func (n nodeInfo) IsDir() bool        { return n.mode.IsDir() }
func (n nodeInfo) Sys() any           { return nil }
