package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image"
)

// Content is what an index holds while a request edits it: a file-based
// catalog, with a hidden database beside it where the index has one, or a
// database alone. A request works on its own copy.
type Content struct {
	// tree is nil in a SQLite index.
	tree *tree.Tree
	// db is the SQLite index, or the hidden database; nil if there is neither.
	db     *catalog.Database
	dbPath string
	// verdict is that on the serve cache of a sealed content; nil without one.
	verdict *task

	session *Session
	base    *Base
}

// FileBased reports whether the index is a file-based one.
func (c *Content) FileBased() bool { return c.tree != nil }

// Load reads what an index holds. A nil base is a SQLite index without
// operators. Close the content.
func (s *Session) Load(ctx context.Context, base *Base) (*Content, error) {
	c := &Content{session: s, base: base}
	dir, err := os.MkdirTemp(s.Job.Workspace, "content-")
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "make a directory for the catalog: %v", err)
	}
	c.dbPath = filepath.Join(dir, "index.db")
	switch {
	case base == nil:
		c.db, err = catalog.CreateDatabase(ctx, c.dbPath)
	case base.FileBased():
		err = c.loadFiles(ctx)
	default:
		err = c.loadDatabase(ctx, base.Database)
		if sdk.CodeOf(err) == sdk.NotFound {
			err = sdk.Errorf(sdk.Invalid, "index %s: its label %s names %s, which it does not have", base.Spec, labelDatabase, base.Database)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close gives back what Load took.
func (c *Content) Close() {
	if c.verdict != nil {
		c.verdict.stop()
	}
	if c.db != nil {
		_ = c.db.Close()
	}
}

// contentKey stands for the files of an image below a path.
func contentKey(info *image.Info, dir string) string {
	sum := sha256.New()
	for _, l := range info.Layers {
		fmt.Fprintln(sum, l.Digest)
	}
	fmt.Fprintln(sum, path.Clean("/"+dir))
	return hex.EncodeToString(sum.Sum(nil))
}

// loadFiles reads the catalog of a file-based index, and its hidden database.
func (c *Content) loadFiles(ctx context.Context) error {
	s, base := c.session, c.base
	key := contentKey(base.info, base.Configs)
	var err error
	c.tree, err = s.stores.trees.Import(ctx, key, func(ctx context.Context, add func(tree.File) error) error {
		dir, err := os.MkdirTemp(s.Job.Workspace, "configs-")
		if err != nil {
			return sdk.Errorf(sdk.Unavailable, "make a directory for the catalog: %v", err)
		}
		defer os.RemoveAll(dir)
		err = s.Client.Files(base.info).Extract(ctx, dir, base.Configs)
		if sdk.CodeOf(err) == sdk.NotFound {
			return sdk.Errorf(sdk.Invalid, "its label %s names %s, which it does not have", labelConfigs, base.Configs)
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, base.Configs)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return sdk.Errorf(sdk.Invalid, "its label %s names %s, which is no directory", labelConfigs, base.Configs)
		}
		return tree.FromFS(os.DirFS(path))(ctx, add)
	})
	if err != nil {
		return sdk.Errorf(sdk.CodeOf(err), "index %s: %v", base.Spec, err)
	}
	err = c.loadDatabase(ctx, hiddenPath)
	if sdk.CodeOf(err) == sdk.NotFound {
		return nil
	}
	return err
}

// loadDatabase opens a private copy of a database of the image.
func (c *Content) loadDatabase(ctx context.Context, name string) error {
	s, base := c.session, c.base
	key := contentKey(base.info, name)
	kept, err := s.stores.databases.copy(key, c.dbPath)
	if err != nil {
		return err
	}
	if !kept {
		if s.stores.databases.absent(key) {
			return sdk.Errorf(sdk.NotFound, "index %s has no %s", base.Spec, name)
		}
		if err := c.extractDatabase(ctx, name); err != nil {
			if sdk.CodeOf(err) == sdk.NotFound {
				s.stores.databases.setAbsent(key)
			}
			return err
		}
		// The kept file is never written to: this request gets a copy of it.
		s.stores.databases.keep(key, c.dbPath)
		if err := os.Rename(c.dbPath, c.dbPath+".kept"); err != nil {
			return sdk.Errorf(sdk.Unavailable, "copy a database: %v", err)
		}
		if kept, err = s.stores.databases.copy(key, c.dbPath); err != nil {
			return err
		}
		if !kept {
			if err := os.Rename(c.dbPath+".kept", c.dbPath); err != nil {
				return sdk.Errorf(sdk.Unavailable, "copy a database: %v", err)
			}
		}
	}
	if c.db, err = catalog.OpenDatabase(ctx, c.dbPath); err != nil {
		return sdk.Errorf(sdk.CodeOf(err), "index %s: %v", base.Spec, err)
	}
	return nil
}

func (c *Content) extractDatabase(ctx context.Context, name string) error {
	dir := filepath.Dir(c.dbPath)
	if err := c.session.Client.Files(c.base.info).Extract(ctx, dir, name); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, path.Clean("/"+name)), c.dbPath); err != nil {
		return sdk.Errorf(sdk.Unavailable, "read a database: %v", err)
	}
	return nil
}

// Package returns one operator's part of a file-based catalog; it may be empty.
func (c *Content) Package(ctx context.Context, name string) (*catalog.Package, error) {
	p := &catalog.Package{Name: name}
	metas, err := c.tree.Metas(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, meta := range metas {
		blob, err := catalog.ParseBlob(meta.Blob)
		if err != nil {
			return nil, sdk.Errorf(sdk.CodeOf(err), "%s: %v", meta.File, err)
		}
		p.Blobs = append(p.Blobs, blob)
	}
	return p, nil
}

// SetPackage replaces one operator's part of a file-based catalog; an empty
// one takes the operator out, if it is there.
func (c *Content) SetPackage(ctx context.Context, p *catalog.Package) error {
	var err error
	if p.Empty() && !c.tree.Has(p.Name) {
		return nil
	}
	if p.Empty() {
		c.tree, err = c.tree.WithoutPackage(ctx, p.Name)
		return err
	}
	if err := p.Validate(); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := catalog.WriteBlobs(&text, p.Blobs); err != nil {
		return err
	}
	c.tree, err = c.tree.WithPackage(ctx, p.Name, text.Bytes())
	return err
}

// Packages returns the operators in the index, sorted.
func (c *Content) Packages(ctx context.Context) ([]string, error) {
	if c.FileBased() {
		return c.tree.Packages(), nil
	}
	return c.db.Packages(ctx)
}

// Has reports whether an operator is in the index.
func (c *Content) Has(ctx context.Context, name string) (bool, error) {
	if c.FileBased() {
		return c.tree.Has(name), nil
	}
	return c.InDatabase(ctx, name)
}

// InDatabase reports whether the database, hidden or not, has an operator. An
// operator that a hidden database lacks has opted in to file-based catalogs.
func (c *Content) InDatabase(ctx context.Context, name string) (bool, error) {
	if c.db == nil {
		return false, nil
	}
	names, err := c.db.Packages(ctx)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if n == name {
			return true, nil
		}
	}
	return false, nil
}

// Images returns the pull specs of the bundles of some operators; in a SQLite
// index of all, which costs the same.
func (c *Content) Images(ctx context.Context, packages []string) ([]string, error) {
	var images []string
	if !c.FileBased() {
		refs, err := c.db.Bundles(ctx)
		for _, ref := range refs {
			images = append(images, ref.Image)
		}
		return images, err
	}
	for _, name := range packages {
		metas, err := c.tree.Metas(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, meta := range metas {
			var bundle struct {
				Image string `json:"image"`
			}
			if meta.Schema == "olm.bundle" && json.Unmarshal(meta.Blob, &bundle) == nil {
				images = append(images, bundle.Image)
			}
		}
	}
	return images, nil
}
