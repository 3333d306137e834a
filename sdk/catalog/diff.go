package catalog

import (
	"cmp"
	"maps"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
)

// Changes is the difference between two states of one package.
type Changes struct {
	Package string `json:"package"`
	// Added and Removed tell that the package itself came or went.
	Added   bool `json:"added,omitempty"`
	Removed bool `json:"removed,omitempty"`

	// DefaultChannel is set if it changed.
	DefaultChannel *Change `json:"default_channel,omitempty"`

	ChannelsAdded   []string `json:"channels_added,omitempty"`
	ChannelsRemoved []string `json:"channels_removed,omitempty"`

	BundlesAdded   []BundleRef `json:"bundles_added,omitempty"`
	BundlesRemoved []BundleRef `json:"bundles_removed,omitempty"`
	// BundlesChanged are bundles whose name stayed and whose image or
	// description changed; what is listed is their new state.
	BundlesChanged []BundleRef `json:"bundles_changed,omitempty"`

	EdgesAdded   []Edge `json:"edges_added,omitempty"`
	EdgesRemoved []Edge `json:"edges_removed,omitempty"`

	// DeprecationsAdded and DeprecationsRemoved are entries of a file-based
	// package's deprecations; one whose message changed is in both.
	DeprecationsAdded   []Deprecation `json:"deprecations_added,omitempty"`
	DeprecationsRemoved []Deprecation `json:"deprecations_removed,omitempty"`
}

// Change is a value before and after.
type Change struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Edge is one way to upgrade: in Channel, a cluster that runs To, or a version
// in the range To, can go to Bundle. Kind is replaces, skips or skipRange.
type Edge struct {
	Channel string `json:"channel"`
	Bundle  string `json:"bundle"`
	Kind    string `json:"kind"`
	To      string `json:"to"`
}

// Deprecation is an entry of a package's deprecations: a message about the
// package, or about the channel or bundle of that name.
type Deprecation struct {
	Schema  string `json:"schema"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

// Empty reports whether nothing changed.
func (c *Changes) Empty() bool {
	return !c.Added && !c.Removed && c.DefaultChannel == nil &&
		len(c.ChannelsAdded)+len(c.ChannelsRemoved)+len(c.BundlesAdded)+len(c.BundlesRemoved)+len(c.BundlesChanged)+
			len(c.EdgesAdded)+len(c.EdgesRemoved)+len(c.DeprecationsAdded)+len(c.DeprecationsRemoved) == 0
}

// Diff compares two states of a package. Either may be nil or empty. All lists
// are sorted.
func Diff(before, after *Package) (*Changes, error) {
	old, err := describePackage(before)
	if err != nil {
		return nil, err
	}
	now, err := describePackage(after)
	if err != nil {
		return nil, err
	}
	c := &Changes{Package: cmp.Or(now.name, old.name), Added: before.Empty() && !after.Empty(), Removed: !before.Empty() && after.Empty()}
	if old.defaultChannel != now.defaultChannel {
		c.DefaultChannel = &Change{old.defaultChannel, now.defaultChannel}
	}
	c.ChannelsAdded, c.ChannelsRemoved = compareSets(old.channels, now.channels, cmp.Compare[string])
	c.EdgesAdded, c.EdgesRemoved = compareSets(old.edges, now.edges, compareEdges)
	c.DeprecationsAdded, c.DeprecationsRemoved = compareSets(old.deprecations, now.deprecations, compareDeprecations)
	for _, name := range slices.Sorted(maps.Keys(now.bundles)) {
		was, ok := old.bundles[name]
		switch is := now.bundles[name]; {
		case !ok:
			c.BundlesAdded = append(c.BundlesAdded, is.ref)
		case was != is:
			c.BundlesChanged = append(c.BundlesChanged, is.ref)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old.bundles)) {
		if _, ok := now.bundles[name]; !ok {
			c.BundlesRemoved = append(c.BundlesRemoved, old.bundles[name].ref)
		}
	}
	return c, nil
}

// description is a package as Diff sees it.
type description struct {
	name, defaultChannel string
	channels             map[string]bool
	edges                map[Edge]bool
	bundles              map[string]bundleState
	deprecations         map[Deprecation]bool
}

type bundleState struct {
	ref BundleRef
	// content is the blob in its shortest form.
	content string
}

func describePackage(p *Package) (*description, error) {
	d := &description{
		channels: map[string]bool{}, edges: map[Edge]bool{}, bundles: map[string]bundleState{}, deprecations: map[Deprecation]bool{},
	}
	if p.Empty() {
		return d, nil
	}
	d.name = p.Name
	cfg, err := p.Config()
	if err != nil {
		return nil, err
	}
	for _, pkg := range cfg.Packages {
		d.defaultChannel = pkg.DefaultChannel
	}
	for _, ch := range cfg.Channels {
		d.channels[ch.Name] = true
		for _, e := range ch.Entries {
			d.addEdges(ch.Name, e)
		}
	}
	for _, list := range cfg.Deprecations {
		for _, e := range list.Entries {
			d.deprecations[Deprecation{e.Reference.Schema, e.Reference.Name, e.Message}] = true
		}
	}
	for _, b := range cfg.Bundles {
		content, err := encode(b)
		if err != nil {
			return nil, err
		}
		d.bundles[b.Name] = bundleState{BundleRef{b.Package, b.Name, bundleVersion(b), b.Image}, string(content)}
	}
	return d, nil
}

func (d *description) addEdges(channel string, e declcfg.ChannelEntry) {
	if e.Replaces != "" {
		d.edges[Edge{channel, e.Name, "replaces", e.Replaces}] = true
	}
	for _, skip := range e.Skips {
		d.edges[Edge{channel, e.Name, "skips", skip}] = true
	}
	if e.SkipRange != "" {
		d.edges[Edge{channel, e.Name, "skipRange", e.SkipRange}] = true
	}
}

func compareEdges(a, b Edge) int {
	return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Bundle, b.Bundle), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.To, b.To))
}

func compareDeprecations(a, b Deprecation) int {
	return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Message, b.Message))
}

func compareSets[T comparable](before, after map[T]bool, order func(a, b T) int) (added, removed []T) {
	for v := range after {
		if !before[v] {
			added = append(added, v)
		}
	}
	for v := range before {
		if !after[v] {
			removed = append(removed, v)
		}
	}
	slices.SortFunc(added, order)
	slices.SortFunc(removed, order)
	return added, removed
}
