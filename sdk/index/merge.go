package index

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/property"

	"github.com/iib-engine/iib/sdk/catalog"
)

// OptedIn returns the operators whose catalog is not made from the hidden
// database, sorted. Without a database nobody has opted in: there was nothing
// to leave.
func (c *Content) OptedIn(ctx context.Context) ([]string, error) {
	if !c.FileBased() || c.db == nil {
		return nil, nil
	}
	stored, err := c.db.Packages(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(c.tree.Packages()), func(name string) bool {
		_, found := slices.BinarySearch(stored, name)
		return found
	}), nil
}

// Refs lists the bundles of the index, but for the operators to be left out.
func (c *Content) Refs(ctx context.Context, without map[string]bool) ([]catalog.BundleRef, error) {
	if c.db != nil {
		refs, err := c.db.Bundles(ctx)
		return slices.DeleteFunc(refs, func(ref catalog.BundleRef) bool {
			return without[ref.Package] || c.FileBased() && !c.tree.Has(ref.Package)
		}), err
	}
	var all []catalog.BundleRef
	for _, name := range c.tree.Packages() {
		if without[name] {
			continue
		}
		list, err := c.packageRefs(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// packageRefs lists the bundles of one operator of a file-based catalog.
func (c *Content) packageRefs(ctx context.Context, name string) ([]catalog.BundleRef, error) {
	kept, digest := &c.session.stores.refs, c.tree.PackageDigest(name)
	if list, ok := kept.of(digest); ok {
		return list, nil
	}
	metas, err := c.tree.Metas(ctx, name)
	if err != nil {
		return nil, err
	}
	var list []catalog.BundleRef
	for _, meta := range metas {
		if meta.Schema == "olm.bundle" {
			list = append(list, refOf(meta.Blob, name, meta.Name))
		}
	}
	kept.keep(digest, list)
	return list, nil
}

// refOf reads a bundle's document. What it has not, or has in another shape
// than a bundle has, stays empty.
func refOf(blob json.RawMessage, pkg, name string) catalog.BundleRef {
	ref := catalog.BundleRef{Package: pkg, Name: name}
	var bundle struct {
		Image      string              `json:"image"`
		Properties []property.Property `json:"properties"`
	}
	if json.Unmarshal(blob, &bundle) != nil {
		return ref
	}
	ref.Image = bundle.Image
	for _, p := range bundle.Properties {
		var described property.Package
		if p.Type == property.TypePackage && json.Unmarshal(p.Value, &described) == nil {
			ref.Version = described.Version
		}
	}
	return ref
}

// Deprecated returns the names of the bundles that the index's database,
// hidden or not, keeps as lower ends of upgrade graphs and does not publish.
func (c *Content) Deprecated(ctx context.Context) ([]string, error) {
	if c.db == nil {
		return nil, nil
	}
	return c.db.Deprecated(ctx)
}

// AdoptFrom replaces operators' parts of the catalog by those of another
// file-based index. An operator that the hidden database has leaves it.
func (c *Content) AdoptFrom(ctx context.Context, other *Content, names []string) error {
	return c.adopt(ctx, other.tree, names)
}

// ToFiles makes a SQLite index a file-based one with its database as the
// hidden one. A file-based index stays as it is.
func (c *Content) ToFiles(ctx context.Context) error {
	if c.FileBased() {
		return nil
	}
	c.tree = c.session.stores.trees.Empty()
	names, err := c.db.Packages(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		p, err := c.db.Package(ctx, name)
		if err != nil {
			return err
		}
		if p.Empty() {
			continue
		}
		if err := c.SetPackage(ctx, p); err != nil {
			return err
		}
	}
	return nil
}
