package catalog

import (
	"github.com/iib-engine/iib/sdk"
)

// Add puts bundles into a file-based package and returns the new package; p
// may be nil or empty for a package that does not exist yet. All bundles must
// be of that one package: a request for several is taken apart by Group. The
// outcome does not depend on the order of the bundles.
func Add(p *Package, bundles []*Bundle, opts AddOptions) (*Package, error) {
	if len(bundles) == 0 {
		return p, nil
	}
	if p == nil {
		p = &Package{}
	}
	if p.Empty() {
		p = &Package{Name: bundles[0].Package}
	}
	for _, b := range bundles {
		if b.Package != p.Name {
			return nil, sdk.Errorf(sdk.Internal, "bundle %s of package %s was to be added to package %s", b.Name, b.Package, p.Name)
		}
	}
	g, cfg, err := loadPackage(p)
	if err != nil {
		return nil, err
	}
	g.foreign = opts.Owner
	if err := g.add(bundles, opts); err != nil {
		return nil, err
	}
	return savePackage(p, cfg, g)
}

// Deprecate cuts the upgrade graph of a file-based package off below each of
// the bundles with the given pull specs, in their order, and takes those
// bundles out of the catalog too: upgrading from them stays possible.
//
// The package returned is empty if the heads of all its channels were given.
// To deprecate the head of the default channel and not the others is an error.
func Deprecate(p *Package, images []string) (*Package, error) {
	if p.Empty() {
		return nil, sdk.Errorf(sdk.NotFound, "there is no package to deprecate bundles of")
	}
	g, cfg, err := loadPackage(p)
	if err != nil {
		return nil, err
	}
	gone, err := g.deprecatesAll(images)
	if err != nil {
		return nil, err
	}
	if gone {
		return &Package{Name: p.Name}, nil
	}
	if err := g.deprecate(images); err != nil {
		return nil, err
	}
	return savePackage(p, cfg, g)
}
