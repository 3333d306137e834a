package tree

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// entry is a file or directory. It is never changed once it is in a tree, so
// trees share entries. It is stored: fields are exported for encoding/gob.
type entry struct {
	Path     string
	Mode     fs.FileMode
	UID, GID int

	Key  cas.Key
	Size int64
	// Scan is nil for a directory and for a file that is ignored.
	Scan *scan
}

func (e *entry) withScan(s *scan) *entry {
	changed := *e
	changed.Scan = s
	return &changed
}

// Tree is a catalog. It is immutable: an edit returns a new one. Its methods
// are safe for concurrent use.
type Tree struct {
	store *Store
	// dirs and files are in the order of comparePaths; the root is dirs[0].
	dirs, files []*entry
	// holders are the files that have metas of a package, in order.
	holders map[string][]*entry
	digest  cas.Key

	fsys func() *treeFS
}

// newTree makes a tree of entries, of which it takes possession. Directories
// that are missing are added.
func newTree(s *Store, dirs, files []*entry) (*Tree, error) {
	t := &Tree{store: s, dirs: dirs, files: files, holders: make(map[string][]*entry)}
	have := make(map[string]bool, len(dirs))
	for _, d := range t.dirs {
		have[d.Path] = true
	}
	ensure := func(dir string) {
		if !have[dir] {
			have[dir] = true
			t.dirs = append(t.dirs, &entry{Path: dir, Mode: dirMode})
		}
	}
	ensure(".")
	for _, list := range [][]*entry{dirs, files} {
		for _, e := range list {
			for dir := range parents(e.Path) {
				ensure(dir)
			}
		}
	}
	byPath := func(a, b *entry) int { return comparePaths(a.Path, b.Path) }
	slices.SortFunc(t.files, byPath)
	slices.SortFunc(t.dirs, byPath)
	for _, e := range t.files {
		if have[e.Path] {
			return nil, invalid("path %s: both a file and a directory", e.Path)
		}
		t.hold(e)
	}
	t.digest = t.sum()
	t.fsys = sync.OnceValue(func() *treeFS { return newFS(t) })
	return t, nil
}

func (t *Tree) hold(e *entry) {
	if e.Scan == nil {
		return
	}
	for name := range e.Scan.Sums {
		t.holders[name] = append(t.holders[name], e)
	}
}

// scanned returns the tree with each file scanned that needs it, and no other:
// which files are part of the catalog may have changed.
func (t *Tree) scanned(ctx context.Context) (*Tree, error) {
	ignored, err := t.ignored()
	if err != nil {
		return nil, err
	}
	files := slices.Clone(t.files)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), 8))
	for i, e := range files {
		switch skip := ignored(e.Path); {
		case skip && e.Scan != nil:
			files[i] = e.withScan(nil)
		case !skip && e.Scan == nil:
			group.Go(func() error {
				found, err := scanFile(ctx, t.store.limits, e.Path, func() (io.ReadCloser, error) { return t.store.reader(e) })
				files[i] = e.withScan(found)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return newTree(t.store, slices.Clone(t.dirs), files)
}

// sum is the digest of all that a layer of the tree depends on.
func (t *Tree) sum() cas.Key {
	sum := sha256.New()
	for _, list := range [][]*entry{t.dirs, t.files} {
		for _, e := range list {
			fmt.Fprintf(sum, "%q %o %d %d %x\n", e.Path, uint32(e.Mode), e.UID, e.GID, e.Key)
		}
	}
	return cas.Key(sum.Sum(nil))
}

// Digest identifies the tree's content: names, modes, owners and files. Equal
// digests mean equal layers.
func (t *Tree) Digest() string { return t.digest.String() }

// Size is the number of bytes of all files.
func (t *Tree) Size() int64 {
	var n int64
	for _, e := range t.files {
		n += e.Size
	}
	return n
}

// Files yields the path and size of each file, in order.
func (t *Tree) Files() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for _, e := range t.files {
			if !yield(e.Path, e.Size) {
				return
			}
		}
	}
}

// CatalogFiles yields the paths of the files that opm reads, in its order: all
// but those that are ignored.
func (t *Tree) CatalogFiles() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range t.files {
			if e.Scan != nil && !yield(e.Path) {
				return
			}
		}
	}
}

// Packages returns the names of all packages that have any meta, sorted.
func (t *Tree) Packages() []string {
	names := slices.Sorted(maps.Keys(t.holders))
	// Metas of no package sort first.
	if len(names) > 0 && names[0] == "" {
		names = names[1:]
	}
	return names
}

// Has reports whether the package has any meta.
func (t *Tree) Has(pkg string) bool { return len(t.holders[pkg]) > 0 }

// PackageDigest identifies the text of all metas of a package, wherever they
// lie; "" for a package that has none. The empty name stands for the metas
// that belong to no package.
func (t *Tree) PackageDigest(pkg string) string {
	holders := t.holders[pkg]
	if len(holders) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, e := range holders {
		part := e.Scan.Sums[pkg]
		sum.Write(part[:])
	}
	return cas.Key(sum.Sum(nil)).String()
}

// PackageSize is the number of bytes of all metas of a package.
func (t *Tree) PackageSize(pkg string) int64 {
	var n int64
	for _, e := range t.holders[pkg] {
		for i := range e.Scan.Items {
			if it := &e.Scan.Items[i]; it.owner() == pkg {
				n += it.Len
			}
		}
	}
	return n
}

// Run is a number of metas of one package that follow each other in a file.
type Run struct {
	File, Package string
	Metas         int
}

// Runs yields whose metas come in which order, in the order in which opm reads
// the catalog: files as fs.WalkDir visits them, metas as they stand in a file.
func (t *Tree) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for _, e := range t.files {
			if e.Scan == nil {
				continue
			}
			run := Run{File: e.Path}
			for i := range e.Scan.Items {
				owner := e.Scan.Items[i].owner()
				if run.Metas > 0 && run.Package != owner {
					if !yield(run) {
						return
					}
					run.Metas = 0
				}
				run.Package = owner
				run.Metas++
			}
			if run.Metas > 0 && !yield(run) {
				return
			}
		}
	}
}

// FileDigest identifies the content of a file, "sha256:..."; "" if there is no
// such file.
func (t *Tree) FileDigest(name string) string {
	if e := t.file(name); e != nil {
		return e.Key.String()
	}
	return ""
}

// file returns the entry of a file, or nil.
func (t *Tree) file(name string) *entry {
	i, ok := slices.BinarySearchFunc(t.files, name, func(e *entry, name string) int { return comparePaths(e.Path, name) })
	if !ok {
		return nil
	}
	return t.files[i]
}

// occupied reports whether a new file cannot have this path.
func (t *Tree) occupied(name string) bool {
	for above := range parents(name) {
		if t.file(above) != nil {
			return true
		}
	}
	return t.file(name) != nil || slices.ContainsFunc(t.dirs, func(d *entry) bool { return path.Clean(d.Path) == name })
}
