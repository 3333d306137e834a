package tree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk"
)

// WithPackage returns the tree with a package's metas replaced, or added, by
// text: JSON objects, one after the other, all of that package. The text is
// taken as it is.
//
// A package that lies in a JSON file stays in it, at the place of its first
// meta; if it lies in several, it moves to the one with its olm.package. A
// package in YAML, or a new one, gets a JSON file of its own. Other files that
// held it lose its metas. Everything else keeps its bytes.
func (t *Tree) WithPackage(ctx context.Context, pkg string, text []byte) (*Tree, error) {
	if err := CheckPackageName(pkg); err != nil {
		return nil, err
	}
	added, err := t.judge(ctx, pkg, text)
	if err != nil {
		return nil, err
	}
	changes := make(map[string]*entry)
	home := t.home(pkg)
	if home == nil {
		name, err := t.vacancy(pkg)
		if err != nil {
			return nil, err
		}
		e := &entry{Path: name, Mode: fileMode, Scan: added}
		if err := t.store.keep(ctx, e, bytes.NewReader(text), make([]byte, min(len(text)+1, 256<<10))); err != nil {
			return nil, err
		}
		changes[name] = e
	}
	for _, e := range t.holders[pkg] {
		var err error
		if e == home {
			changes[e.Path], err = t.splice(ctx, e, pkg, text, added)
		} else if changes[e.Path] == nil {
			changes[e.Path], err = t.splice(ctx, e, pkg, nil, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return t.with(changes)
}

// WithoutPackage returns the tree without any meta of a package. An error of
// code NotFound tells that it has none.
func (t *Tree) WithoutPackage(ctx context.Context, pkg string) (*Tree, error) {
	if !t.Has(pkg) || pkg == "" {
		return nil, sdk.Errorf(sdk.NotFound, "package %s: not in the catalog", pkg)
	}
	changes := make(map[string]*entry)
	for _, e := range t.holders[pkg] {
		left, err := t.splice(ctx, e, pkg, nil, nil)
		if err != nil {
			return nil, err
		}
		changes[e.Path] = left
	}
	return t.with(changes)
}

// WithFile returns the tree with a file added or replaced. A file that is part
// of the catalog is checked as Import does it.
func (t *Tree) WithFile(ctx context.Context, name string, content io.Reader) (*Tree, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	old := t.file(name)
	if old == nil && (name == "." || t.occupied(name)) {
		return nil, invalid("path %s: both a file and a directory", name)
	}
	e := &entry{Path: name, Mode: fileMode}
	if old != nil {
		e.Mode, e.UID, e.GID = old.Mode, old.UID, old.GID
	}
	if err := t.store.keep(ctx, e, content, make([]byte, 64<<10)); err != nil {
		return nil, err
	}
	changed, err := t.with(map[string]*entry{name: e})
	if err != nil {
		return nil, err
	}
	return changed.scanned(ctx)
}

// WithoutFile returns the tree without a file. An error of code NotFound tells
// that there is no such file.
func (t *Tree) WithoutFile(ctx context.Context, name string) (*Tree, error) {
	if t.file(name) == nil {
		return nil, sdk.Errorf(sdk.NotFound, "catalog file %s: not in the catalog", name)
	}
	changed, err := t.with(map[string]*entry{name: nil})
	if err != nil || !isIgnoreFile(name) {
		return changed, err
	}
	return changed.scanned(ctx)
}

// judge scans the text of a package.
func (t *Tree) judge(ctx context.Context, pkg string, text []byte) (*scan, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, invalid("package %s: there are no metas", pkg)
	}
	found, err := scanFile(ctx, t.store.limits, "of package "+pkg, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	})
	if err != nil {
		return nil, err
	}
	if found.yaml() {
		return nil, invalid("package %s: the metas are not JSON", pkg)
	}
	for i := range found.Items {
		if it := &found.Items[i]; it.owner() != pkg {
			return nil, invalid("package %s: meta %d, %s %q, is of package %q", pkg, i+1, it.Schema, it.Name, it.owner())
		}
	}
	return found, nil
}

// home returns the file that a package stays in, or nil.
func (t *Tree) home(pkg string) *entry {
	var home *entry
	for _, e := range t.holders[pkg] {
		if e.Scan.yaml() {
			continue
		}
		if slices.ContainsFunc(e.Scan.Items, func(it item) bool { return it.Schema == declcfg.SchemaPackage && it.Name == pkg }) {
			return e
		}
		if home == nil {
			home = e
		}
	}
	return home
}

// vacancy returns a path for a package that needs a file of its own.
func (t *Tree) vacancy(pkg string) (string, error) {
	var candidates []string
	for _, e := range t.holders[pkg] {
		// A YAML file that goes leaves its place and its name.
		if e.Scan.exclusive() {
			candidates = append(candidates, strings.TrimSuffix(e.Path, path.Ext(e.Path))+".json")
		}
	}
	candidates = append(candidates, pkg+"/catalog.json", pkg+"/"+pkg+".json", pkg+".json")
	ignored, err := t.ignored()
	if err != nil {
		return "", err
	}
	for _, name := range candidates {
		gone := slices.ContainsFunc(t.holders[pkg], func(e *entry) bool { return e.Path == name && e.Scan.exclusive() })
		if (gone || !t.occupied(name)) && !ignored(name) {
			return name, nil
		}
	}
	return "", invalid("package %s: each of %s is taken or excluded by an %s file", pkg, strings.Join(candidates, ", "), ignoreFile)
}

// splice returns a file without a package's metas, and with text in their
// place unless that is nil. It returns nil if no meta is left.
func (t *Tree) splice(ctx context.Context, e *entry, pkg string, text []byte, added *scan) (*entry, error) {
	changed := &entry{Path: e.Path, Mode: e.Mode, UID: e.UID, GID: e.GID}
	if e.Scan.exclusive() {
		if text == nil {
			return nil, nil
		}
		changed.Scan = added
		return changed, t.store.keep(ctx, changed, bytes.NewReader(text), make([]byte, min(len(text)+1, 256<<10)))
	}
	old, err := t.store.reader(e)
	if err != nil {
		return nil, err
	}
	defer old.Close()
	s := &splicer{old: old, pkg: pkg, text: text, added: added}
	s.plan(e)
	changed.Scan = &s.scan
	if err := t.store.keep(ctx, changed, s, make([]byte, 256<<10)); err != nil {
		return nil, unavailable(err)
	}
	return changed, nil
}

// splicer reads a file with a package's metas left out or replaced. A file is
// cut where metas begin, so what is between two metas goes with the first.
type splicer struct {
	old   io.Reader
	pkg   string
	text  []byte
	added *scan

	scan  scan
	parts []splicePart
	size  int64
	now   io.Reader
}

// splicePart is a number of bytes of the old file, to be kept or not, or text.
type splicePart struct {
	text []byte
	n    int64
	drop bool
}

func (s *splicer) plan(e *entry) {
	s.scan = scan{Sums: maps.Clone(e.Scan.Sums)}
	delete(s.scan.Sums, s.pkg)
	items := e.Scan.Items
	s.push(splicePart{n: items[0].Start})
	for i, it := range items {
		end := e.Size
		if i+1 < len(items) {
			end = items[i+1].Start
		}
		part := splicePart{n: end - it.Start}
		if it.owner() != s.pkg {
			shift := s.size - it.Start
			it.Start += shift
			it.Off += shift
			s.scan.Items = append(s.scan.Items, it)
			s.push(part)
			continue
		}
		if s.text != nil {
			s.insert()
		}
		part.drop = true
		s.push(part)
	}
}

// insert puts the text here, once.
func (s *splicer) insert() {
	for _, it := range s.added.Items {
		it.Start += s.size
		it.Off += s.size
		s.scan.Items = append(s.scan.Items, it)
	}
	maps.Copy(s.scan.Sums, s.added.Sums)
	s.push(splicePart{text: s.text, n: int64(len(s.text))})
	if !bytes.HasSuffix(s.text, []byte("\n")) {
		s.push(splicePart{text: []byte("\n"), n: 1})
	}
	s.text = nil
}

func (s *splicer) push(p splicePart) {
	s.parts = append(s.parts, p)
	if !p.drop {
		s.size += p.n
	}
}

func (s *splicer) Read(p []byte) (int, error) {
	for {
		if s.now != nil {
			n, err := s.now.Read(p)
			if err == io.EOF {
				s.now, err = nil, nil
			}
			if n > 0 || err != nil {
				return n, err
			}
		}
		if len(s.parts) == 0 {
			// The end of the old file is where it proves to be undamaged.
			if _, err := io.Copy(io.Discard, s.old); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		part := s.parts[0]
		s.parts = s.parts[1:]
		switch {
		case part.text != nil:
			s.now = bytes.NewReader(part.text)
		case part.drop:
			if _, err := io.CopyN(io.Discard, s.old, part.n); err != nil {
				return 0, fmt.Errorf("splice catalog file: %w", err)
			}
		default:
			s.now = io.LimitReader(s.old, part.n)
		}
	}
}

// with returns the tree with some files replaced, added, or, where the entry is
// nil, removed. A directory that loses its last file goes with it.
func (t *Tree) with(changes map[string]*entry) (*Tree, error) {
	files := make([]*entry, 0, len(t.files)+len(changes))
	for _, e := range t.files {
		if _, changed := changes[e.Path]; !changed {
			files = append(files, e)
		}
	}
	for _, e := range changes {
		if e != nil {
			files = append(files, e)
		}
	}
	if len(files) > t.store.limits.Files {
		return nil, invalid("has more than %d files", t.store.limits.Files)
	}
	used := make(map[string]bool)
	for _, e := range files {
		for dir := range parents(e.Path) {
			used[dir] = true
		}
	}
	emptied := make(map[string]bool)
	for name, e := range changes {
		if e == nil {
			for dir := range parents(name) {
				emptied[dir] = !used[dir]
			}
		}
	}
	dirs := slices.DeleteFunc(slices.Clone(t.dirs), func(d *entry) bool { return emptied[d.Path] })
	return newTree(t.store, dirs, files)
}
