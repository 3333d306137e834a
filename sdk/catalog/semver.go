package catalog

import (
	"maps"
	"slices"
	"strings"

	"github.com/blang/semver/v4"

	"github.com/iib-engine/iib/sdk"
)

// walkGraph is a channel seen as a graph, which the semver modes and the check
// for reachability work on.
type walkGraph struct {
	head string
	// next has the bundles of the channel and what each replaces or skips.
	next map[string]map[string]bool
}

// walks reads the graphs of all channels that have a bundle.
func (g *graph) walks() (map[string]*walkGraph, error) {
	out := map[string]*walkGraph{}
	for _, name := range g.channelNames() {
		w := &walkGraph{next: map[string]map[string]bool{}}
		heads := map[string]bool{}
		for _, e := range g.channels[name].entries {
			if _, known := g.nodes[e.bundle]; known && w.next[e.bundle] == nil {
				w.next[e.bundle] = map[string]bool{}
				heads[e.bundle] = true
			}
		}
		if len(heads) == 0 {
			continue
		}
		for _, e := range g.channels[name].entries {
			if e.replaces == nil {
				continue
			}
			if w.next[e.bundle] == nil {
				w.next[e.bundle] = map[string]bool{}
			}
			w.next[e.bundle][e.replaces.bundle] = true
			delete(heads, e.replaces.bundle)
		}
		if len(heads) != 1 {
			return nil, sdk.Errorf(sdk.Invalid, "channel %s of package %s would have %s; a channel has exactly one bundle that nothing replaces or skips",
				name, g.name, listHeads(heads))
		}
		for head := range heads {
			w.head = head
		}
		out[name] = w
	}
	return out, nil
}

func listHeads(heads map[string]bool) string {
	if len(heads) == 0 {
		return "no head"
	}
	return "the heads " + strings.Join(slices.Sorted(maps.Keys(heads)), ", ")
}

func (w *walkGraph) reaches(bundle string) bool {
	seen := map[string]bool{w.head: true}
	for queue := []string{w.head}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == bundle {
			return true
		}
		for next := range w.next[queue[0]] {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

// addSemver adds bundles by version alone, one after the other.
func (g *graph) addSemver(bundles []*Bundle, skipPatch bool) error {
	for _, b := range bundles {
		if err := g.addBetween(b, skipPatch); err != nil {
			return err
		}
	}
	heads := map[string]bool{}
	for _, ch := range g.channels {
		heads[ch.head] = true
	}
	for _, n := range g.nodes {
		n.cleared = n.cleared || n.image != "" && !heads[n.name]
	}
	return nil
}

// addBetween puts a bundle between its neighbours in each of its channels.
func (g *graph) addBetween(b *Bundle, skipPatch bool) error {
	walks := map[string]*walkGraph{}
	if g.defaultChannel != "" {
		var err error
		if walks, err = g.walks(); err != nil {
			return err
		}
	}
	if b.DefaultChannel != "" {
		g.defaultChannel = b.DefaultChannel
	}
	if g.defaultChannel == "" {
		g.defaultChannel = slices.Min(b.Channels)
	}
	for _, channel := range b.Channels {
		w := walks[channel]
		if w == nil {
			walks[channel] = &walkGraph{head: b.Name, next: map[string]map[string]bool{b.Name: {}}}
			continue
		}
		if err := g.place(w, b, channel, skipPatch); err != nil {
			return err
		}
	}
	if err := g.insert(b); err != nil {
		return err
	}
	g.tip = 0
	g.listed = true
	for _, name := range slices.Sorted(maps.Keys(walks)) {
		ch := &channel{head: walks[name].head}
		if err := g.unroll(name, ch, walks[name]); err != nil {
			return err
		}
		g.channels[name] = ch
	}
	if g.channels[g.defaultChannel] == nil {
		return g.noDefault(g.defaultChannel)
	}
	return nil
}

// place finds the bundle's neighbours in a channel and links it with them.
func (g *graph) place(w *walkGraph, b *Bundle, channel string, skipPatch bool) error {
	version, err := semver.Parse(b.Version)
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "bundle %s has the version %q, which is not a semantic version", b.Name, b.Version)
	}
	var above, below string
	var aboveVersion, belowVersion semver.Version
	replaces := map[string]bool{}
	// By name, so that neighbours which differ in build metadata only are
	// found in the same order every time.
	for _, name := range slices.Sorted(maps.Keys(w.next)) {
		v, err := g.versionOf(name)
		if err != nil {
			return err
		}
		switch c := v.Compare(version); {
		case c == 0:
			return sdk.Errorf(sdk.Invalid, "bundle %s cannot be added to channel %s of package %s: %s has the version %s already", b.Name, channel, g.name, name, v)
		case c > 0 && (above == "" || v.LT(aboveVersion)):
			above, aboveVersion = name, v
		case c < 0 && (below == "" || v.GT(belowVersion)):
			below, belowVersion = name, v
		}
		if skipPatch && v.Major == version.Major && v.Minor == version.Minor && v.LT(version) {
			replaces[name] = true
		}
	}
	patches := slices.Collect(maps.Keys(replaces))
	if below != "" {
		replaces[below] = true
	}
	if above != "" {
		w.next[above] = map[string]bool{b.Name: true}
	} else {
		w.head = b.Name
	}
	for _, name := range patches {
		delete(w.next, name)
	}
	w.next[b.Name] = replaces
	return nil
}

func (g *graph) versionOf(bundle string) (semver.Version, error) {
	n, ok := g.nodes[bundle]
	if !ok {
		return semver.Version{}, sdk.Errorf(sdk.Invalid, "package %s has no bundle %s, which its upgrade graph has edges from", g.name, bundle)
	}
	v, err := semver.Parse(n.version)
	if err != nil {
		return v, sdk.Errorf(sdk.Invalid, "bundle %s of package %s has the version %q, which is not a semantic version; the mode %s needs one", bundle, g.name, n.version, Semver)
	}
	return v, nil
}

// unroll writes a channel's graph down as entries, from its head. Each bundle
// must have exactly one successor that is in the channel.
func (g *graph) unroll(name string, ch *channel, w *walkGraph) error {
	seen := map[string]bool{}
	var previous *entry
	for current, depth := w.head, 0; current != ""; depth++ {
		if seen[current] {
			return sdk.Errorf(sdk.Invalid, "channel %s of package %s would be a circle through %s", name, g.name, current)
		}
		seen[current] = true
		e := ch.add(current, depth)
		if previous != nil {
			previous.replaces = e
		}
		next := ""
		var skipped []string
		for _, to := range slices.Sorted(maps.Keys(w.next[current])) {
			if w.next[to] == nil {
				skipped = append(skipped, to)
			} else if next == "" || g.newer(to, next) {
				next = to
			}
		}
		for i, to := range skipped {
			below := ch.add(to, depth+1+i)
			from := ch.add(current, depth+1+i)
			from.replaces = below
		}
		previous, current = e, next
	}
	if len(seen) != len(w.next) {
		return sdk.Errorf(sdk.Invalid, "channel %s of package %s is not a line of upgrades: %s would not be reached from the head %s; the semver modes cannot add to such a channel",
			name, g.name, strings.Join(missing(w.next, seen), ", "), w.head)
	}
	return nil
}

func (g *graph) newer(a, b string) bool {
	na, nb := g.nodes[a], g.nodes[b]
	if na == nil || nb == nil {
		return nb == nil && na != nil
	}
	return compareVersions(na.version, nb.version) > 0
}

func missing(all map[string]map[string]bool, seen map[string]bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !seen[name] {
			names = append(names, name)
		}
	}
	return names
}
