package catalog

import (
	"cmp"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// Mode is how the upgrade graph grows when bundles are added.
type Mode string

const (
	// Replaces follows the replaces and skips of the CSVs. The bundle with the
	// highest version of a channel becomes its head, and what cannot be
	// reached from there drops out. The zero Mode means Replaces.
	Replaces Mode = "replaces"
	// Semver ignores replaces and puts each bundle between its neighbours.
	Semver Mode = "semver"
	// SemverSkipPatch is Semver where a bundle also skips the older patch
	// releases of its minor version.
	SemverSkipPatch Mode = "semver-skippatch"
)

// AddOptions say how bundles are added.
type AddOptions struct {
	Mode Mode
	// OverwriteLatest lets a bundle take the place of one with the same name
	// that is the head of all its channels. One bundle of a package may do so
	// at a time.
	OverwriteLatest bool
	// Owner tells which package of the catalog has a bundle of that name, or
	// names it in its upgrade graph. Nil means that there is no other package.
	// A database answers for itself.
	Owner func(bundle string) (pkg string, ok bool)
}

// Group sorts the bundles of one request by package and by version, so that
// each package can be edited on its own. It refuses what is wrong with the
// request as such: two bundles with one name or pull spec, and upgrade edges
// that lead from one package to another.
func Group(bundles []*Bundle) ([][]*Bundle, error) {
	byName := map[string]*Bundle{}
	byImage := map[string]*Bundle{}
	owner := map[string]string{}
	for _, b := range bundles {
		if twin, ok := byName[b.Name]; ok {
			return nil, sdk.Errorf(sdk.Invalid, "the bundles %s and %s are both named %s; leave one of them out", twin.Image, b.Image, b.Name)
		}
		if _, ok := byImage[b.Image]; ok {
			return nil, sdk.Errorf(sdk.Invalid, "the bundle %s is given twice", b.Image)
		}
		byName[b.Name], byImage[b.Image] = b, b
		for _, name := range append(slices.Clone(b.Skips), b.Replaces, b.Name) {
			if name == "" {
				continue
			}
			if pkg, ok := owner[name]; ok && pkg != b.Package {
				return nil, sdk.Errorf(sdk.Invalid, "the packages %s and %s both refer to the bundle %s; replaces and skips must stay within a package", min(pkg, b.Package), max(pkg, b.Package), name)
			}
			owner[name] = b.Package
		}
	}
	var groups [][]*Bundle
	for _, b := range inOrder(bundles) {
		if last := len(groups) - 1; last >= 0 && groups[last][0].Package == b.Package {
			groups[last] = append(groups[last], b)
			continue
		}
		groups = append(groups, []*Bundle{b})
	}
	return groups, nil
}

// inOrder sorts bundles by package, then by version: the order in which they
// would have come if each had had a request of its own.
func inOrder(bundles []*Bundle) []*Bundle {
	return slices.SortedFunc(slices.Values(bundles), func(a, b *Bundle) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), compareVersions(a.Version, b.Version), cmp.Compare(a.Name, b.Name))
	})
}

// add puts bundles of the graph's package into it. After an error the graph is
// of no use.
func (g *graph) add(bundles []*Bundle, opts AddOptions) error {
	bundles = inOrder(bundles)
	overwritten, err := g.checkNew(bundles, opts.OverwriteLatest)
	if err != nil {
		return err
	}
	switch opts.Mode {
	case Replaces, "":
		if len(overwritten) > 0 {
			if err := g.overwrite(overwritten[0]); err != nil {
				return err
			}
		}
		err = g.addReplaces(bundles)
	case Semver, SemverSkipPatch:
		err = g.addSemver(bundles, opts.Mode == SemverSkipPatch)
	default:
		return sdk.Errorf(sdk.Invalid, "there is no graph update mode %q; use %s, %s or %s", opts.Mode, Replaces, Semver, SemverSkipPatch)
	}
	if err != nil {
		return err
	}
	return g.checkReachable(bundles)
}

// checkNew refuses bundles that are there already and returns the names of
// those that overwriting is going to replace.
func (g *graph) checkNew(bundles []*Bundle, overwrite bool) ([]string, error) {
	var overwritten []string
	for _, b := range bundles {
		for _, name := range append(slices.Clone(b.Skips), b.Replaces, b.Name) {
			if g.foreign == nil || name == "" {
				continue
			}
			if pkg, ok := g.foreign(name); ok && pkg != g.name {
				return nil, sdk.Errorf(sdk.Invalid, "bundle %s of package %s refers to the bundle %s, which belongs to package %s; replaces and skips must stay within a package", b.Name, g.name, name, pkg)
			}
		}
		for _, n := range g.sortedNodes() {
			if n.image == b.Image && !n.tombstone && g.inChannels(n.name) {
				return nil, sdk.Errorf(sdk.Invalid, "bundle %s is already in package %s, as %s", b.Image, g.name, n.name)
			}
		}
		old, ok := g.nodes[b.Name]
		if !ok || old.tombstone {
			continue
		}
		if !overwrite {
			if g.inChannels(b.Name) {
				return nil, sdk.Errorf(sdk.Invalid, "bundle %s is already in package %s, with the pull spec %s; give the new one another name and version, or overwrite it where that is allowed", b.Name, g.name, old.image)
			}
			continue
		}
		if old.image == "" {
			return nil, sdk.Errorf(sdk.Invalid, "bundle %s of package %s cannot be overwritten: the catalog has no pull spec for it", b.Name, g.name)
		}
		for _, name := range g.channelsOf(b.Name) {
			if by, ok := g.replacedBy(g.channels[name], b.Name); ok {
				return nil, sdk.Errorf(sdk.Invalid, "bundle %s of package %s cannot be overwritten: it is not the head of channel %s, where %s replaces it", b.Name, g.name, name, by)
			}
		}
		overwritten = append(overwritten, b.Name)
	}
	if len(overwritten) > 1 {
		return nil, sdk.Errorf(sdk.Invalid, "bundles %s and %s of package %s cannot be overwritten at once; send one request for each", overwritten[0], overwritten[1], g.name)
	}
	return overwritten, nil
}

// insert makes a node of a new bundle and lets substitutions take effect.
func (g *graph) insert(b *Bundle) error {
	if old, ok := g.nodes[b.Name]; ok && !old.tombstone {
		return sdk.Errorf(sdk.Invalid, "bundle %s was in package %s before, with the pull spec %s, and is no longer in a channel; give the new one another name and version", b.Name, g.name, old.image)
	}
	if g.foreign != nil {
		if pkg, ok := g.foreign(b.Name); ok && pkg != g.name {
			return sdk.Errorf(sdk.Invalid, "there is a bundle %s in package %s already; give the new one another name", b.Name, pkg)
		}
	}
	order := 0
	for _, n := range g.nodes {
		order = max(order, n.order+1)
	}
	hidden := slices.ContainsFunc(b.rows.props, func(p typedValue) bool { return p.Type == typeDeprecated })
	n := &node{
		name: b.Name, version: b.Version, image: b.Image,
		replaces: b.Replaces, skips: slices.Clone(b.Skips), skipRange: b.SkipRange,
		substitutesFor: b.SubstitutesFor, hidden: hidden, order: order, added: b,
	}
	g.nodes[b.Name] = n
	return g.substitute(n)
}

// checkReachable refuses an add that leaves a new bundle out of a channel that
// it asked for.
func (g *graph) checkReachable(bundles []*Bundle) error {
	walks, err := g.walks()
	if err != nil {
		return err
	}
	for _, b := range bundles {
		for _, name := range b.Channels {
			w := walks[name]
			if w == nil || !w.reaches(b.Name) {
				return g.unreachable(b, name)
			}
		}
	}
	return nil
}

func (g *graph) unreachable(b *Bundle, channel string) error {
	head := ""
	if ch := g.channels[channel]; ch != nil {
		head = ch.head
	}
	if head == "" {
		return sdk.Errorf(sdk.Invalid, "bundle %s (%s) cannot be added to channel %s of package %s: the channel ends with a deprecated bundle of a higher version", b.Name, b.Image, channel, g.name)
	}
	return sdk.Errorf(sdk.Invalid, "bundle %s (%s) cannot be added to channel %s of package %s: nobody could upgrade to it, because the head %s has a higher version and neither it nor what it replaces names %s in replaces or skips",
		b.Name, b.Image, channel, g.name, head, b.Name)
}
