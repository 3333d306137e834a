package index

import (
	"context"
	"slices"
	"strings"

	"github.com/blang/semver/v4"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
)

// Operator is what an index publishes of one operator.
type Operator struct {
	Name           string
	DefaultChannel string
	Channels       []Channel
	// Bundles are in the order of their names.
	Bundles []catalog.BundleRef
}

// Channel is a channel with the bundle that it leads to.
type Channel struct{ Name, Head string }

// Operator returns what the index publishes of an operator. One that is not
// there is NotFound.
func (c *Content) Operator(ctx context.Context, name string) (*Operator, error) {
	var p *catalog.Package
	var err error
	if c.FileBased() {
		p, err = c.Package(ctx, name)
	} else {
		p, err = c.db.Package(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	if p.Empty() {
		return nil, sdk.Errorf(sdk.NotFound, "package %s is not in the index", name)
	}
	config, err := p.Config()
	if err != nil {
		return nil, err
	}
	o := &Operator{Name: name}
	versions := make(map[string]semver.Version)
	for _, blob := range p.Blobs {
		if blob.Schema != "olm.bundle" {
			continue
		}
		ref := refOf(blob.JSON, name, blob.Name)
		o.Bundles = append(o.Bundles, ref)
		versions[ref.Name], _ = semver.Parse(ref.Version)
	}
	slices.SortFunc(o.Bundles, func(a, b catalog.BundleRef) int { return strings.Compare(a.Name, b.Name) })
	for _, pkg := range config.Packages {
		o.DefaultChannel = pkg.DefaultChannel
	}
	for _, channel := range config.Channels {
		passed := make(map[string]bool)
		for _, entry := range channel.Entries {
			if entry.Replaces != entry.Name {
				passed[entry.Replaces] = true
			}
			for _, skipped := range entry.Skips {
				passed[skipped] = true
			}
		}
		head := ""
		for _, entry := range channel.Entries {
			// Only a bundle that the index has can be led to; what is replaced
			// by a bundle of the channel is not its head.
			version, published := versions[entry.Name]
			if published && !passed[entry.Name] && (head == "" || version.GT(versions[head])) {
				head = entry.Name
			}
		}
		if head != "" {
			o.Channels = append(o.Channels, Channel{Name: channel.Name, Head: head})
		}
	}
	return o, nil
}
