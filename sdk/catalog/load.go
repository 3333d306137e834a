package catalog

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"

	"github.com/iib-engine/iib/sdk"
)

// loadPackage reads the upgrade graph of a file-based package.
//
// A file knows less than the database that it was made from, and what it does
// not know cannot be made up here: bundles that dropped out of
// all channels (a database lets later bundles replace them, and refuses their
// names), version and pull spec of deprecated bundles, the edges of bundles
// that are skipped in every channel, and, after a semver mode, the edges that
// CSVs declare.
//
// A file can also say what no database can: that a bundle has one edge in this
// channel and another in that. Such a package was written by hand, or made in
// a semver mode, and each channel keeps its own edges when bundles are added.
func loadPackage(p *Package) (*graph, *declcfg.DeclarativeConfig, error) {
	g := newGraph(p.Name)
	if p.Empty() {
		return g, &declcfg.DeclarativeConfig{}, nil
	}
	if err := p.validateEdited(); err != nil {
		return nil, nil, err
	}
	cfg, err := p.Config()
	if err != nil {
		return nil, nil, err
	}
	g.listed = true
	g.defaultChannel = cfg.Packages[0].DefaultChannel
	for _, b := range cfg.Bundles {
		g.nodes[b.Name] = &node{name: b.Name, image: b.Image, version: bundleVersion(b), substitutesFor: substitutesFor(b)}
	}
	g.numberNodes()
	g.lineUpSubstitutes()

	lines := map[string]*line{}
	for _, ch := range cfg.Channels {
		lines[ch.Name] = newLine(ch)
	}
	g.adoptEdges(lines)
	for name, l := range lines {
		if err := g.loadChannel(name, l); err != nil {
			return nil, nil, err
		}
	}
	return g, cfg, nil
}

// numberNodes orders the nodes as if they had been added by version.
func (g *graph) numberNodes() {
	byVersion := slices.SortedFunc(maps.Values(g.nodes), func(a, b *node) int {
		return cmp.Or(compareVersions(a.version, b.version), cmp.Compare(a.name, b.name))
	})
	for i, n := range byVersion {
		n.order = i
	}
}

// lineUpSubstitutes gives rival substitutes of one bundle the order that they
// got when they were added: each stands for the one below it.
func (g *graph) lineUpSubstitutes() {
	last := map[string]string{}
	for _, n := range g.sortedNodes() {
		declared := n.substitutesFor
		if declared == "" {
			continue
		}
		if below, ok := last[declared]; ok {
			n.substitutesFor = below
		}
		last[declared] = n.name
	}
}

// line is a channel of a file-based catalog, with its walk from the head.
type line struct {
	entries map[string]declcfg.ChannelEntry
	head    string
	// walk has the bundles from the head down; end is what the lowest of them
	// replaces without it being in the channel.
	walk []string
	end  string
}

// newLine follows the replaces of a channel that is known to be valid: it has
// one head and no circle.
func newLine(ch declcfg.Channel) *line {
	l := &line{entries: map[string]declcfg.ChannelEntry{}}
	incoming := map[string]bool{}
	for _, e := range ch.Entries {
		l.entries[e.Name] = e
		incoming[e.Replaces] = true
		for _, skip := range e.Skips {
			incoming[skip] = true
		}
	}
	for _, e := range ch.Entries {
		if !incoming[e.Name] {
			l.head = e.Name
		}
	}
	seen := map[string]bool{}
	for at := l.head; at != "" && !seen[at]; {
		e, ok := l.entries[at]
		if !ok {
			l.end = at
			break
		}
		seen[at] = true
		l.walk = append(l.walk, at)
		at = e.Replaces
	}
	return l
}

// adoptEdges gives each node the edges that it has where it is on the walk of
// a channel, the default channel before others. The channels of a package that
// came from a database agree.
func (g *graph) adoptEdges(lines map[string]*line) {
	names := slices.Sorted(maps.Keys(lines))
	if lines[g.defaultChannel] != nil {
		names = append([]string{g.defaultChannel}, names...)
	}
	adopted := map[string]bool{}
	for _, name := range names {
		for _, bundle := range lines[name].walk {
			if !adopted[bundle] {
				adopted[bundle] = true
				e := lines[name].entries[bundle]
				g.nodes[bundle].replaces, g.nodes[bundle].skips = e.Replaces, e.Skips
			}
		}
	}
	for _, name := range names {
		for bundle, e := range lines[name].entries {
			n := g.nodes[bundle]
			if !adopted[bundle] && n.replaces == "" && len(n.skips) == 0 {
				n.replaces, n.skips = e.Replaces, e.Skips
			}
			n.skipRange = cmp.Or(n.skipRange, e.SkipRange)
		}
	}
}

func (g *graph) loadChannel(name string, l *line) error {
	ch := &channel{head: l.head, end: l.end}
	if l.end != "" && g.nodes[l.end] == nil {
		// The graph was cut off here: in a database this is a deprecated bundle.
		g.nodes[l.end] = &node{name: l.end, version: versionInName(l.end), order: -1, deprecated: true, hidden: true, tombstone: true}
	}
	for _, bundle := range l.walk {
		e, n := l.entries[bundle], g.nodes[bundle]
		if e.Replaces != n.replaces || !sameNames(e.Skips, n.skips) {
			if ch.edges == nil {
				ch.edges = map[string]edge{}
			}
			ch.edges[bundle] = edge{e.Replaces, e.Skips}
		}
	}
	if err := g.walk(name, ch); err != nil {
		return err
	}
	for _, bundle := range slices.Sorted(maps.Keys(l.entries)) {
		if !ch.mentions(bundle) {
			ch.loose = append(ch.loose, bundle)
			ch.add(bundle, len(ch.entries))
		}
	}
	if n := g.nodes[l.end]; n != nil && n.tombstone {
		ch.end = ""
	}
	g.channels[name] = ch
	return nil
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// versionInName guesses the version of a bundle of which only the name is
// known: names end in the version by convention.
func versionInName(name string) string {
	if _, version, ok := strings.Cut(name, ".v"); ok {
		if _, err := semver.Parse(version); err == nil {
			return version
		}
	}
	return "0.0.0-z"
}

func bundleVersion(b declcfg.Bundle) string {
	for _, p := range b.Properties {
		var v property.Package
		if p.Type == property.TypePackage && json.Unmarshal(p.Value, &v) == nil {
			return v.Version
		}
	}
	return ""
}

// substitutesFor reads the annotation from the metadata of the CSV, or from
// the CSV itself where the catalog still has it.
func substitutesFor(b declcfg.Bundle) string {
	const annotation = "olm.substitutesFor"
	if b.CsvJSON != "" {
		var csv struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if json.Unmarshal([]byte(b.CsvJSON), &csv) == nil {
			return csv.Metadata.Annotations[annotation]
		}
	}
	for _, p := range b.Properties {
		var v struct {
			Annotations map[string]string `json:"annotations"`
		}
		if p.Type == property.TypeCSVMetadata && json.Unmarshal(p.Value, &v) == nil {
			return v.Annotations[annotation]
		}
	}
	return ""
}

// errNotListed is what edits of an absent package report.
func errNotListed(pkg string) error {
	return sdk.Errorf(sdk.NotFound, "package %s is not in the catalog", pkg)
}
