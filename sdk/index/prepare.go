package index

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Plan is what a request decided before it builds (handlers, section 1.8).
type Plan struct {
	// Binary is the binary image as it was chosen, Pinned by digest; both are
	// sdk.Scratch for a catalog without one.
	Binary       string
	BinaryPinned string
	Scope        string
	Version      string
	// Arches are sorted.
	Arches []string
	// Created is the newest creation time of the inputs so far.
	Created time.Time
	// Deciding is the index whose scope and version count, and which the
	// request may overwrite; nil without one.
	Deciding *Base
}

// Wish is what a request asks of its plan.
type Wish struct {
	BinaryImage string
	Scope       string
	AddArches   []string
	// NoIndexVersion is the version without a deciding index.
	NoIndexVersion string
}

// Plan decides scope, binary image and architectures. Deciding is the index
// whose scope and version count, others contribute their architectures; all
// may be nil.
func (s *Session) Plan(ctx context.Context, wish Wish, deciding *Base, others ...*Base) (*Plan, error) {
	p := &Plan{Scope: scopeUnknown, Version: or(wish.NoIndexVersion, versionUnknown), Deciding: deciding}
	if deciding != nil {
		p.Scope, p.Version = deciding.Scope, deciding.Version
	}
	if wish.Scope != "" {
		if scopeRank(wish.Scope) > scopeRank(p.Scope) {
			return nil, sdk.FieldErrorf("distribution_scope", "the requested distribution scope %s is wider than %s, that of index %s: use %s or a narrower one",
				wish.Scope, p.Scope, deciding.name(), p.Scope)
		}
		p.Scope = wish.Scope
	}
	if err := s.chooseBinary(p, wish.BinaryImage); err != nil {
		return nil, err
	}
	if err := s.chooseArches(ctx, p, wish.AddArches, append([]*Base{deciding}, others...)); err != nil {
		return nil, err
	}
	for _, b := range append([]*Base{deciding}, others...) {
		if b != nil {
			p.Newer(b.Created)
		}
	}
	return p, nil
}

func (b *Base) name() string {
	if b == nil {
		return "no index"
	}
	return b.Spec
}

// Newer keeps the newest creation time of the inputs: the image's own, so that
// equal inputs make an equal image, and none is older than its base.
func (p *Plan) Newer(created time.Time) {
	if created.After(p.Created) {
		p.Created = created
	}
}

// chooseBinary takes the requested binary image, or the configured one.
func (s *Session) chooseBinary(p *Plan, requested string) error {
	configured := s.config.BinaryImages[p.Scope][p.Version]
	p.Binary = or(requested, configured)
	switch {
	case p.Binary == "":
		return sdk.FieldErrorf("binary_image", "no binary image is configured for distribution scope %s and version %s: name one in binary_image", p.Scope, p.Version)
	case configured == sdk.Scratch && requested != "" && requested != sdk.Scratch:
		return sdk.FieldErrorf("binary_image", "catalogs of distribution scope %s and version %s have no binary image: leave out binary_image %s", p.Scope, p.Version, requested)
	case configured != sdk.Scratch && configured != "" && requested == sdk.Scratch,
		configured == "" && requested == sdk.Scratch && len(s.config.BinaryImages) > 0:
		return sdk.FieldErrorf("binary_image", "binary_image scratch is not configured for distribution scope %s and version %s", p.Scope, p.Version)
	}
	return nil
}

// chooseArches unites the architectures and checks that the binary image has
// them all. A missing one is reported with where it came from.
func (s *Session) chooseArches(ctx context.Context, p *Plan, add []string, indexes []*Base) error {
	if p.Binary == sdk.Scratch {
		p.BinaryPinned, p.Arches = sdk.Scratch, []string{"amd64"}
		return nil
	}
	from := make(map[string]string)
	for _, arch := range add {
		from[arch] = "add_arches"
	}
	for _, b := range indexes {
		if b == nil {
			continue
		}
		for _, arch := range b.Arches {
			from[arch] = "index " + b.Spec
		}
	}
	if len(from) == 0 {
		return sdk.FieldErrorf("add_arches", "there is no architecture to build for: name some in add_arches")
	}
	p.Arches = slices.Sorted(maps.Keys(from))
	m, err := s.Client.Resolve(ctx, p.Binary)
	if err != nil {
		return err
	}
	p.BinaryPinned = repository(p.Binary) + "@" + string(m.Digest)
	has, err := s.Client.ArchesOf(ctx, m)
	if err != nil {
		return err
	}
	var missing []string
	for _, arch := range p.Arches {
		if !slices.Contains(has, arch) {
			missing = append(missing, arch+" (from "+from[arch]+")")
		}
	}
	if len(missing) > 0 {
		return sdk.FieldErrorf("binary_image", "binary image %s has no image for %s; it has %s", p.Binary, strings.Join(missing, ", "), strings.Join(has, ", "))
	}
	info, err := s.Client.InspectManifest(ctx, m, p.Arches[0])
	if err != nil {
		return err
	}
	p.Newer(info.Created)
	return nil
}

// Fields are the representation keys that a plan settles.
func (p *Plan) Fields() map[string]any {
	return map[string]any{
		"binary_image": p.Binary, "binary_image_resolved": p.BinaryPinned, "distribution_scope": p.Scope,
	}
}
