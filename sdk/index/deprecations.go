package index

import (
	"bytes"
	"context"
	"path"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/tree"
)

// deprecationsDir holds the deprecations of operators whose catalog is made
// from the hidden database. No package can have this name.
const deprecationsDir = "_operator-deprecations-content"

// SetDeprecations puts an operator's olm.deprecations document into the
// catalog, in place of an earlier one. An operator that has opted in carries
// its deprecations in its own fragment, so it is refused where a hidden
// database tells who has.
func (c *Content) SetDeprecations(ctx context.Context, name string, document []byte) error {
	if err := tree.CheckPackageName(name); err != nil {
		return err
	}
	if !c.tree.Has(name) {
		return sdk.FieldErrorf("operator_package", "the index has no package %s", name)
	}
	if c.db != nil {
		stored, err := c.InDatabase(ctx, name)
		if err != nil {
			return err
		}
		if !stored {
			return sdk.FieldErrorf("operator_package", "package %s comes from a catalog fragment, which carries its deprecations itself: change the fragment", name)
		}
	}
	if _, err := catalog.ParseDeprecations(name, document); err != nil {
		return sdk.FieldErrorf("deprecation_schema", "%v", err)
	}
	p, err := c.Package(ctx, name)
	if err != nil {
		return err
	}
	kept := make([]catalog.Blob, 0, len(p.Blobs))
	for _, blob := range p.Blobs {
		if blob.Schema != "olm.deprecations" {
			kept = append(kept, blob)
		}
	}
	if len(kept) < len(p.Blobs) {
		if err := c.SetPackage(ctx, &catalog.Package{Name: name, Blobs: kept}); err != nil {
			return err
		}
	}
	c.tree, err = c.tree.WithFile(ctx, path.Join(deprecationsDir, name, name+".json"), bytes.NewReader(document))
	if err != nil {
		return err
	}
	whole, err := c.Package(ctx, name)
	if err != nil {
		return err
	}
	if err := whole.Validate(); err != nil {
		return sdk.FieldErrorf("deprecation_schema", "%v", err)
	}
	return nil
}
