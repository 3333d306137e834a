package index

import (
	"context"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
)

// Add puts bundles into the index. In a file-based index each operator is
// edited where it lives: in the hidden database, from which its part of the
// catalog is then made, or in the catalog alone if it has opted in or there is
// no hidden database. The edited operators are returned, sorted.
func (c *Content) Add(ctx context.Context, bundles []*catalog.Bundle, options catalog.AddOptions) ([]string, error) {
	groups, err := catalog.Group(bundles)
	if err != nil {
		return nil, err
	}
	var names []string
	var inDatabase []*catalog.Bundle
	for _, group := range groups {
		name := group[0].Package
		names = append(names, name)
		hidden, err := c.InDatabase(ctx, name)
		if err != nil {
			return nil, err
		}
		if !c.FileBased() || c.db != nil && (hidden || !c.tree.Has(name)) {
			inDatabase = append(inDatabase, group...)
			continue
		}
		if err := c.addToFiles(ctx, name, group, options); err != nil {
			return nil, err
		}
	}
	if len(inDatabase) == 0 {
		return names, nil
	}
	if err := c.db.Add(ctx, inDatabase, options); err != nil {
		return nil, err
	}
	return names, c.migrate(ctx, packagesOf(inDatabase))
}

func (c *Content) addToFiles(ctx context.Context, name string, bundles []*catalog.Bundle, options catalog.AddOptions) error {
	p, err := c.Package(ctx, name)
	if err != nil {
		return err
	}
	p, err = catalog.Add(p, bundles, options)
	if err != nil {
		return err
	}
	return c.SetPackage(ctx, p)
}

// migrate makes operators' parts of a file-based catalog from the hidden
// database. In a SQLite index there is nothing to do.
func (c *Content) migrate(ctx context.Context, names []string) error {
	if !c.FileBased() {
		return nil
	}
	for _, name := range names {
		p, err := c.db.Package(ctx, name)
		if sdk.CodeOf(err) == sdk.NotFound {
			p, err = &catalog.Package{Name: name}, nil
		}
		if err != nil {
			return err
		}
		if p, err = c.carryOver(ctx, p); err != nil {
			return err
		}
		if err := c.SetPackage(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// carryOver keeps what the catalog has of an operator and no database can
// hold: deprecations, and documents of unknown schemas.
func (c *Content) carryOver(ctx context.Context, p *catalog.Package) (*catalog.Package, error) {
	if p.Empty() {
		return p, nil
	}
	old, err := c.Package(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	for _, blob := range old.Blobs {
		switch blob.Schema {
		case "olm.package", "olm.channel", "olm.bundle":
		default:
			p.Blobs = append(p.Blobs, blob)
		}
	}
	return p, nil
}

// Deprecate cuts off what the given bundles replace and marks the bundles
// deprecated. Those that are not in the index, by exactly this pull spec, are
// left out; the rest is returned.
func (c *Content) Deprecate(ctx context.Context, bundles []*Bundle) ([]string, error) {
	var packages []string
	for _, b := range bundles {
		packages = append(packages, b.Package())
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	present, err := c.Images(ctx, packages)
	if err != nil {
		return nil, err
	}
	byPackage := make(map[string][]string)
	var deprecated []string
	for _, b := range bundles {
		if slices.Contains(present, b.Pinned) {
			byPackage[b.Package()] = append(byPackage[b.Package()], b.Pinned)
			deprecated = append(deprecated, b.Pinned)
		}
	}
	if len(deprecated) == 0 {
		return nil, nil
	}
	var inDatabase []string
	for _, name := range packages {
		images := byPackage[name]
		if len(images) == 0 {
			continue
		}
		hidden, err := c.InDatabase(ctx, name)
		if err != nil {
			return nil, err
		}
		if !c.FileBased() || hidden {
			inDatabase = append(inDatabase, images...)
			continue
		}
		p, err := c.Package(ctx, name)
		if err != nil {
			return nil, err
		}
		if p, err = catalog.Deprecate(p, images); err != nil {
			return nil, err
		}
		if err := c.SetPackage(ctx, p); err != nil {
			return nil, err
		}
	}
	if len(inDatabase) == 0 {
		return deprecated, nil
	}
	edited, gone, err := c.db.Deprecate(ctx, inDatabase)
	if err != nil {
		return nil, err
	}
	return deprecated, c.migrate(ctx, append(edited, gone...))
}

func packagesOf(bundles []*catalog.Bundle) []string {
	var names []string
	for _, b := range bundles {
		names = append(names, b.Package)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
