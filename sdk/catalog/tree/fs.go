package tree

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// FS shows the tree as a file system, with the modes that its layer has, for
// code of the operator framework that reads catalogs from one.
func (t *Tree) FS() fs.FS { return t.fsys() }

type treeFS struct {
	store *Store
	nodes map[string]*node
}

// node is an entry as fs.FileInfo and fs.DirEntry; children are sorted by name.
type node struct {
	*entry
	children []fs.DirEntry
}

func newFS(t *Tree) *treeFS {
	f := &treeFS{store: t.store, nodes: make(map[string]*node, len(t.dirs)+len(t.files))}
	for _, list := range [][]*entry{t.dirs, t.files} {
		for _, e := range list {
			f.nodes[e.Path] = &node{entry: e}
		}
	}
	for name, n := range f.nodes {
		if name != "." {
			up := f.nodes[path.Dir(name)]
			up.children = append(up.children, n)
		}
	}
	for _, n := range f.nodes {
		slices.SortFunc(n.children, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return f
}

func (n *node) Name() string               { return path.Base(n.Path) }
func (n *node) Size() int64                { return n.entry.Size }
func (n *node) Mode() fs.FileMode          { return n.entry.Mode }
func (n *node) Type() fs.FileMode          { return n.entry.Mode.Type() }
func (n *node) ModTime() time.Time         { return time.Time{} }
func (n *node) IsDir() bool                { return n.entry.Mode.IsDir() }
func (n *node) Sys() any                   { return nil }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }

func (f *treeFS) node(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, ok := f.nodes[name]
	if !ok {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

func (f *treeFS) Stat(name string) (fs.FileInfo, error) { return f.node("stat", name) }

func (f *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.node("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	return slices.Clone(n.children), nil
}

func (f *treeFS) Open(name string) (fs.File, error) {
	n, err := f.node("open", name)
	if err != nil {
		return nil, err
	}
	if n.IsDir() {
		return &openDir{node: n, rest: n.children}, nil
	}
	blob, err := f.store.blob(n.entry)
	if err != nil {
		return nil, err
	}
	return &openFile{node: n, blob: blob, r: blob.Reader()}, nil
}

type openFile struct {
	node *node
	blob *cas.File
	r    io.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.node, nil }
func (f *openFile) Read(p []byte) (int, error) { return f.r.Read(p) }
func (f *openFile) Close() error               { return f.blob.Close() }

type openDir struct {
	node *node
	rest []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.node, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.node.Path, Err: fs.ErrInvalid}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	k := len(d.rest)
	if n > 0 {
		if k == 0 {
			return nil, io.EOF
		}
		k = min(n, k)
	}
	list := slices.Clone(d.rest[:k])
	d.rest = d.rest[k:]
	return list, nil
}

// ReadFile returns a file's content.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	e := t.file(name)
	if e == nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	r, err := t.store.reader(e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var buf bytes.Buffer
	buf.Grow(int(e.Size) + bytes.MinRead)
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, unavailable(err)
	}
	return buf.Bytes(), nil
}
