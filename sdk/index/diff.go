package index

import (
	"context"
	"slices"

	"github.com/iib-engine/iib/sdk/catalog"
)

// Diff returns, by operator, what is different in a later state of an index.
// The two may be of different kinds. An operator whose text is the same in two
// file-based catalogs is not even read; one whose text alone differs, such as
// in the order of its documents, is not listed.
func (c *Content) Diff(ctx context.Context, later *Content) ([]*catalog.Changes, error) {
	before, err := c.Packages(ctx)
	if err != nil {
		return nil, err
	}
	after, err := later.Packages(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Compact(slices.Sorted(slices.Values(slices.Concat(before, after))))
	changes := []*catalog.Changes{}
	for _, name := range names {
		if c.FileBased() && later.FileBased() && c.tree.Has(name) && c.tree.PackageDigest(name) == later.tree.PackageDigest(name) {
			continue
		}
		old, err := c.part(ctx, name)
		if err != nil {
			return nil, err
		}
		now, err := later.part(ctx, name)
		if err != nil {
			return nil, err
		}
		change, err := catalog.Diff(old, now)
		if err != nil {
			return nil, err
		}
		if !change.Empty() {
			changes = append(changes, change)
		}
	}
	return changes, nil
}

// part returns one operator's part of an index of either kind; it may be empty.
func (c *Content) part(ctx context.Context, name string) (*catalog.Package, error) {
	if c.FileBased() {
		return c.Package(ctx, name)
	}
	return c.db.Package(ctx, name)
}
