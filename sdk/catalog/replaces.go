package catalog

import (
	"maps"
	"slices"

	"github.com/blang/semver/v4"

	"github.com/iib-engine/iib/sdk"
)

// addReplaces adds bundles by the edges that their CSVs declare and makes all
// channels of the package anew.
func (g *graph) addReplaces(bundles []*Bundle) error {
	for _, b := range bundles {
		if err := g.insert(b); err != nil {
			return err
		}
	}
	heads, err := g.elect(bundles)
	if err != nil {
		return err
	}
	return g.rewalk(heads)
}

// candidate is a bundle that may become the head of a channel.
type candidate struct {
	name    string
	version semver.Version
	// rivals counts the bundles that share the highest version, this included.
	rivals int
}

// elect finds each channel's head, the bundle with the highest version, and
// the default channel: the one named by the highest bundle that names any.
func (g *graph) elect(added []*Bundle) (map[string]string, error) {
	type voter struct {
		name, version, defaultChannel string
		channels                      []string
	}
	var voters []voter
	for _, n := range g.sortedNodes() {
		// A new bundle may be mentioned already, by one that skips it.
		if channels := g.channelsOf(n.name); len(channels) > 0 && !n.tombstone {
			voters = append(voters, voter{n.name, n.version, g.defaultChannel, channels})
		}
	}
	for _, b := range added {
		voters = append(voters, voter{b.Name, b.Version, b.DefaultChannel, b.Channels})
	}

	heads := map[string]candidate{}
	var highest candidate
	defaultChannel := ""
	for _, v := range voters {
		c := candidate{name: v.name, rivals: 1}
		raw := v.version
		if raw == "" {
			raw = "0.0.0-z" // below everything that has a version
		}
		var err error
		if c.version, err = semver.Parse(raw); err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "bundle %s of package %s has the version %q, which is not a semantic version", v.name, g.name, v.version)
		}
		for _, channel := range v.channels {
			head, ok := heads[channel]
			if !ok {
				heads[channel] = c
				continue
			}
			winner, err := c.against(head)
			if err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "package %s: compare the versions %s and %s: %v", g.name, c.version, head.version, err)
			}
			heads[channel] = winner
		}
		winner, err := c.against(highest)
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "package %s: compare the versions %s and %s: %v", g.name, c.version, highest.version, err)
		}
		if winner.name == c.name {
			highest = winner
			if v.defaultChannel != "" {
				defaultChannel = v.defaultChannel
			}
		}
	}
	return g.decide(heads, highest, defaultChannel)
}

// against returns which of two candidates has the higher version, c if they
// are equal.
func (c candidate) against(other candidate) (candidate, error) {
	order, err := compareBuild(c.version, other.version)
	if err != nil {
		return c, err
	}
	if order < 0 {
		return other, nil
	}
	if order == 0 {
		c.rivals += other.rivals
	}
	return c, nil
}

func (g *graph) decide(heads map[string]candidate, highest candidate, defaultChannel string) (map[string]string, error) {
	if highest.rivals > 1 {
		return nil, sdk.Errorf(sdk.Invalid, "package %s would have more than one bundle with its highest version, %s; one of them is %s", g.name, highest.version, highest.name)
	}
	names := map[string]string{}
	for _, channel := range slices.Sorted(maps.Keys(heads)) {
		head := heads[channel]
		if head.rivals > 1 {
			return nil, sdk.Errorf(sdk.Invalid, "channel %s of package %s would have more than one bundle with its highest version, %s; one of them is %s", channel, g.name, head.version, head.name)
		}
		names[channel] = head.name
	}
	if len(heads) == 1 {
		for channel := range heads {
			if defaultChannel != "" && defaultChannel != channel {
				return nil, g.noDefault(defaultChannel)
			}
			defaultChannel = channel
		}
	}
	if _, ok := heads[defaultChannel]; !ok {
		return nil, g.noDefault(defaultChannel)
	}
	g.defaultChannel = defaultChannel
	return names, nil
}

func (g *graph) noDefault(channel string) error {
	if channel == "" {
		return sdk.Errorf(sdk.Invalid, "package %s has several channels and none of its bundles names the default one; set the annotation operators.operatorframework.io.bundle.channel.default.v1", g.name)
	}
	return sdk.Errorf(sdk.Invalid, "the default channel of package %s would be %s, in which there is no bundle", g.name, channel)
}

// rewalk replaces all channels by walks from the given heads.
func (g *graph) rewalk(heads map[string]string) error {
	old := g.channels
	g.channels = map[string]*channel{}
	g.tip = 0
	g.listed = true
	for _, name := range slices.Sorted(maps.Keys(heads)) {
		head := heads[name]
		if g.nodes[head].deprecated {
			continue // nobody may install from here any more
		}
		ch := &channel{head: head}
		if was := old[name]; was != nil {
			ch.edges, ch.end, ch.loose = was.edges, was.end, was.loose
		}
		if err := g.walk(name, ch); err != nil {
			return err
		}
		g.channels[name] = ch
	}
	if _, ok := g.channels[g.defaultChannel]; !ok {
		return sdk.Errorf(sdk.Invalid, "the default channel %s of package %s ends with a deprecated bundle; add a bundle with a higher version to it", g.defaultChannel, g.name)
	}
	return nil
}

// walk writes down the channel's entries, from its head along replaces.
func (g *graph) walk(name string, ch *channel) error {
	current := ch.add(ch.head, 0)
	depth := 1
	seen := map[string]bool{ch.head: true}
	for {
		n := g.nodes[current.bundle]
		if n.deprecated {
			break
		}
		e := ch.edgeOf(n)
		for _, skipped := range e.skips {
			to := ch.add(skipped, depth)
			from := ch.add(n.name, depth)
			from.replaces = to
			depth++
		}
		if e.replaces == "" {
			break
		}
		if seen[e.replaces] {
			return sdk.Errorf(sdk.Invalid, "channel %s of package %s would be a circle: %s replaces %s, which leads to it by its own replaces", name, g.name, n.name, e.replaces)
		}
		seen[e.replaces] = true
		next := ch.add(e.replaces, depth)
		current.replaces = next
		if e.replaces == ch.end {
			break
		}
		if _, ok := g.nodes[e.replaces]; !ok {
			return sdk.Errorf(sdk.Invalid, "bundle %s replaces %s, which is not in package %s; add %s before it or in the same request", n.name, e.replaces, g.name, e.replaces)
		}
		current = next
		depth++
	}
	for _, loose := range ch.loose {
		if !ch.mentions(loose) {
			ch.add(loose, depth)
			depth++
		}
	}
	return nil
}

func (c *channel) edgeOf(n *node) edge {
	if e, ok := c.edges[n.name]; ok {
		return e
	}
	return edge{n.replaces, n.skips}
}

// overwrite takes the head of its channels out, so that its successor can take
// its place. What it replaced becomes the head for the moment.
func (g *graph) overwrite(bundle string) error {
	for _, name := range g.channelNames() {
		ch := g.channels[name]
		var top *entry
		for _, e := range ch.entries {
			if e.bundle == bundle && (top == nil || e.depth < top.depth) {
				top = e
			}
		}
		if top == nil {
			continue
		}
		next := ""
		if top.replaces != nil {
			if _, known := g.nodes[top.replaces.bundle]; known {
				next = top.replaces.bundle
			}
		}
		switch {
		case next != "":
			if ch.head == bundle {
				ch.head = next
			}
		case name == g.defaultChannel:
			ch.head = ""
		}
	}
	g.removeNode(bundle)
	if slices.ContainsFunc(g.channelNames(), func(name string) bool { return g.channels[name].dangling() }) {
		return sdk.Errorf(sdk.Invalid, "bundle %s of package %s cannot be overwritten: other bundles lead to it", bundle, g.name)
	}
	return nil
}
