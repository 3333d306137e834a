package index

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/tree"
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
	if _, err := c.db.CapOpenShift(ctx, inDatabase); err != nil {
		return nil, err
	}
	return names, c.migrate(ctx, packagesOf(inDatabase))
}

func (c *Content) addToFiles(ctx context.Context, name string, bundles []*catalog.Bundle, options catalog.AddOptions) error {
	p, err := c.Package(ctx, name)
	if err != nil {
		return err
	}
	if p, err = catalog.Add(p, bundles, options); err != nil {
		return err
	}
	if p, _, err = catalog.CapOpenShift(p, bundles); err != nil {
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
	return deprecated, c.DeprecateImages(ctx, byPackage)
}

// DeprecateImages is Deprecate for pull specs that are known to be in the
// index, by operator.
func (c *Content) DeprecateImages(ctx context.Context, byPackage map[string][]string) error {
	var inDatabase []string
	for _, name := range slices.Sorted(maps.Keys(byPackage)) {
		images := byPackage[name]
		hidden, err := c.InDatabase(ctx, name)
		if err != nil {
			return err
		}
		if !c.FileBased() || hidden {
			inDatabase = append(inDatabase, images...)
			continue
		}
		p, err := c.Package(ctx, name)
		if err != nil {
			return err
		}
		if p, err = catalog.Deprecate(p, images); err != nil {
			return err
		}
		if err := c.SetPackage(ctx, p); err != nil {
			return err
		}
	}
	if len(inDatabase) == 0 {
		return nil
	}
	edited, gone, err := c.db.Deprecate(ctx, inDatabase)
	if err != nil {
		return err
	}
	return c.migrate(ctx, slices.Concat(edited, gone))
}

func packagesOf(bundles []*catalog.Bundle) []string {
	var names []string
	for _, b := range bundles {
		names = append(names, b.Package)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Remove takes operators out of the index and returns those that were not in
// it. A SQLite index refuses unknown operators (handlers, section 4.2).
func (c *Content) Remove(ctx context.Context, names []string) (missing []string, err error) {
	var inDatabase []string
	for _, name := range names {
		if err := tree.CheckPackageName(name); err != nil {
			return nil, err
		}
		has, err := c.Has(ctx, name)
		if err != nil {
			return nil, err
		}
		stored, err := c.InDatabase(ctx, name)
		if err != nil {
			return nil, err
		}
		if stored {
			inDatabase = append(inDatabase, name)
		}
		if !has && !stored {
			missing = append(missing, name)
		}
	}
	if !c.FileBased() && len(missing) > 0 {
		return nil, sdk.Errorf(sdk.Invalid, "the index has no operators %s: leave them out of the request", strings.Join(missing, ", "))
	}
	if len(inDatabase) > 0 {
		if err := c.db.Remove(ctx, inDatabase...); err != nil {
			return nil, err
		}
	}
	if !c.FileBased() {
		return nil, nil
	}
	for _, name := range names {
		if !c.tree.Has(name) {
			continue
		}
		if c.tree, err = c.tree.WithoutPackage(ctx, name); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// Clear takes every operator out of the index. A SQLite index becomes a
// file-based one, with its database as the hidden one, if toFiles says so.
func (c *Content) Clear(ctx context.Context, toFiles bool) error {
	if c.db != nil {
		names, err := c.db.Packages(ctx)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			if err := c.db.Remove(ctx, names...); err != nil {
				return err
			}
		}
	}
	if c.FileBased() || toFiles {
		c.tree = c.session.stores.trees.Empty()
	}
	return nil
}

// Adopt replaces operators' parts of the catalog by those of a fragment. An
// operator that the hidden database has leaves it: it has opted in.
func (c *Content) Adopt(ctx context.Context, fragment *tree.Tree) error {
	return c.adopt(ctx, fragment, fragment.Packages())
}

func (c *Content) adopt(ctx context.Context, fragment *tree.Tree, names []string) error {
	var optedIn []string
	for _, name := range names {
		stored, err := c.InDatabase(ctx, name)
		if err != nil {
			return err
		}
		if stored {
			optedIn = append(optedIn, name)
		}
		metas, err := fragment.Metas(ctx, name)
		if err != nil {
			return err
		}
		p := &catalog.Package{Name: name}
		for _, meta := range metas {
			blob, err := catalog.ParseBlob(meta.Blob)
			if err != nil {
				return sdk.Errorf(sdk.CodeOf(err), "%s: %v", meta.File, err)
			}
			p.Blobs = append(p.Blobs, blob)
		}
		if err := c.SetPackage(ctx, p); err != nil {
			return err
		}
	}
	if len(optedIn) == 0 {
		return nil
	}
	return c.db.Remove(ctx, optedIn...)
}
