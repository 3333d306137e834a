package catalog

import (
	"cmp"
	"maps"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
)

// graph is the upgrade graph of one package, in the terms of the database form
// of a catalog: nodes are bundles with the edges that they declare, channels
// are walks over them, written down as entries. It can be loaded from either
// form, and all edits are made here.
//
// The meaning of an edit is defined by operator-registry v1.73.0, quirks
// included, because published catalogs were made by it; tests compare the two
// over random histories. What a database remembers and a file does not is
// listed at loadPackage.
type graph struct {
	name           string
	defaultChannel string
	nodes          map[string]*node
	channels       map[string]*channel
	// tip is the depth of a channel's head among the entries. It is not zero
	// in databases of old.
	tip int
	// foreign tells which other package knows a bundle by this name.
	foreign func(bundle string) (string, bool)
	// listed reports whether the package exists. A database can have channels
	// of a package that it does not list.
	listed bool
}

// node is a bundle of the package, or one that only stands for it: a tombstone.
type node struct {
	name, version, image string

	replaces, skipRange, substitutesFor string
	skips                               []string

	// deprecated marks the lower end of the graph: a walk stops here.
	deprecated bool
	// hidden keeps the bundle out of the published catalog.
	hidden bool
	// tombstone is a bundle of which a file-based catalog knows the name only.
	tombstone bool
	// cleared has lost its manifests in a database.
	cleared bool
	// order is the order in which a database would find the nodes.
	order int
	// added is the new bundle that the node was made for.
	added *Bundle
}

// channel is a walk from its head.
type channel struct {
	// head is empty while the channel waits for one.
	head    string
	entries []*entry

	// The rest is only used for file-based packages that no database could
	// express, because they were written by hand.

	// edges are those of bundles that have others in this channel.
	edges map[string]edge
	// end is a bundle that the lowest entry replaces but that is not in the
	// channel, although it is in the package.
	end string
	// loose bundles are in the channel without being reached from its head.
	loose []string
}

type edge struct {
	replaces string
	skips    []string
}

// entry is one upgrade edge: it leads from bundle to the bundle of replaces.
// A bundle has several entries in a channel if it skips others.
type entry struct {
	bundle   string
	replaces *entry
	depth    int
}

func newGraph(name string) *graph {
	return &graph{name: name, nodes: map[string]*node{}, channels: map[string]*channel{}}
}

func (g *graph) channelNames() []string { return slices.Sorted(maps.Keys(g.channels)) }

// sortedNodes returns the nodes as a database would find them.
func (g *graph) sortedNodes() []*node {
	return slices.SortedFunc(maps.Values(g.nodes), func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name))
	})
}

// inChannels reports whether any channel mentions the bundle.
func (g *graph) inChannels(bundle string) bool {
	for _, ch := range g.channels {
		if ch.mentions(bundle) {
			return true
		}
	}
	return false
}

// channelsOf names the channels that mention the bundle, sorted.
func (g *graph) channelsOf(bundle string) []string {
	var names []string
	for _, name := range g.channelNames() {
		if g.channels[name].mentions(bundle) {
			names = append(names, name)
		}
	}
	return names
}

func (c *channel) mentions(bundle string) bool {
	return slices.ContainsFunc(c.entries, func(e *entry) bool { return e.bundle == bundle })
}

// replacedBy returns a bundle of the package that has an edge to this one.
func (g *graph) replacedBy(c *channel, bundle string) (string, bool) {
	for _, e := range c.entries {
		if e.replaces != nil && e.replaces.bundle == bundle {
			if _, known := g.nodes[e.bundle]; known {
				return e.bundle, true
			}
		}
	}
	return "", false
}

func (c *channel) add(bundle string, depth int) *entry {
	e := &entry{bundle: bundle, depth: depth}
	c.entries = append(c.entries, e)
	return e
}

// remove drops all entries of the bundle.
func (c *channel) remove(bundle string) {
	c.entries = slices.DeleteFunc(c.entries, func(e *entry) bool { return e.bundle == bundle })
	delete(c.edges, bundle)
	c.loose = slices.DeleteFunc(c.loose, func(name string) bool { return name == bundle })
}

// dangling reports whether an entry leads to one that is gone.
func (c *channel) dangling() bool {
	return slices.ContainsFunc(c.entries, func(e *entry) bool {
		return e.replaces != nil && !slices.Contains(c.entries, e.replaces)
	})
}

// removeNode forgets a bundle as a database does: a channel goes with its
// head, and the package with its default channel.
func (g *graph) removeNode(bundle string) {
	delete(g.nodes, bundle)
	for name, ch := range g.channels {
		if ch.head == bundle {
			g.removeChannel(name)
		}
	}
	for _, ch := range g.channels {
		ch.remove(bundle)
	}
}

func (g *graph) removeChannel(name string) {
	delete(g.channels, name)
	if name == g.defaultChannel {
		g.defaultChannel = ""
		g.listed = false
	}
}

// published is what one channel of the published catalog says of a bundle.
type published struct {
	replaces  string
	skips     []string
	skipRange string
	// added tells that the bundle is new.
	added bool
}

func (p published) entry(bundle string) declcfg.ChannelEntry {
	return declcfg.ChannelEntry{Name: bundle, Replaces: p.replaces, Skips: p.skips, SkipRange: p.skipRange}
}

// publish derives the entries of a channel for a file-based catalog: the edges
// on the walk from the head become replaces, all others become skips.
func (g *graph) publish(c *channel) map[string]published {
	onWalk := map[*entry]bool{}
	for _, e := range c.entries {
		if e.depth != g.tip {
			continue
		}
		for ; e != nil && !onWalk[e]; e = e.replaces {
			onWalk[e] = true
		}
	}
	out := map[string]published{}
	for _, e := range c.entries {
		n, known := g.nodes[e.bundle]
		if !known || n.hidden {
			continue
		}
		p := out[e.bundle]
		p.skipRange, p.added = n.skipRange, n.added != nil
		if e.replaces != nil {
			if to := e.replaces.bundle; onWalk[e] {
				p.replaces = max(p.replaces, to)
			} else {
				p.skips = append(p.skips, to)
			}
		}
		out[e.bundle] = p
	}
	return out
}
