package catalog

import (
	"maps"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// typeDeprecated is the property of a bundle that is kept in a database as the
// lower end of an upgrade graph and left out of what is published.
const typeDeprecated = "olm.deprecated"

// deprecate cuts the upgrade graph off below each of the given bundles, in
// their order. Afterwards they can still be upgraded from, but not installed.
// The package must not be one that deprecatesAll says goes altogether.
func (g *graph) deprecate(images []string) error {
	for _, image := range images {
		n := g.named(image)
		if n == nil {
			continue // an earlier one of the list has cut it off
		}
		if err := g.truncate(n); err != nil {
			return err
		}
	}
	return nil
}

// named finds the bundle with a pull spec.
func (g *graph) named(image string) *node {
	for _, n := range g.sortedNodes() {
		if n.image == image && !n.tombstone {
			return n
		}
	}
	return nil
}

// deprecatesAll reports whether the whole package goes: the heads of all its
// channels are given. It is an error if that of the default channel is given
// and that of another is not, or if one of the bundles is not there.
func (g *graph) deprecatesAll(images []string) (bool, error) {
	for _, image := range images {
		if n := g.named(image); n == nil || !g.inChannels(n.name) {
			return false, sdk.Errorf(sdk.NotFound, "bundle %s cannot be deprecated: it is not in package %s", image, g.name)
		}
	}
	ch := g.channels[g.defaultChannel]
	if ch == nil || g.nodes[ch.head] == nil || !slices.Contains(images, g.nodes[ch.head].image) {
		return false, nil
	}
	for _, name := range g.channelNames() {
		head := g.nodes[g.channels[name].head]
		if head == nil || !slices.Contains(images, head.image) {
			return false, sdk.Errorf(sdk.Invalid, "bundle %s cannot be deprecated: it is the head of the default channel %s of package %s. To deprecate the whole package, list the heads of all its channels; that of %s is missing",
				g.nodes[ch.head].image, g.defaultChannel, g.name, name)
		}
	}
	return true, nil
}

// tail is what the upgrade graph says about a bundle below a deprecated one.
type tail struct {
	channels, replaces, replacedBy map[string]bool
}

func (g *graph) truncate(n *node) error {
	tails, err := g.tailOf(n)
	if err != nil {
		return err
	}
	top := tails[n.name].channels

	queue := []string{n.name}
	seen := map[string]bool{n.name: true}
	for ; len(queue) > 0; queue = queue[1:] {
		t, ok := tails[queue[0]]
		if !ok {
			continue
		}
		for _, below := range slices.Sorted(maps.Keys(t.replaces)) {
			if !seen[below] {
				seen[below] = true
				queue = append(queue, below)
			}
		}
		if queue[0] == n.name {
			continue
		}
		g.cut(queue[0], n.name)
		if subset(t.channels, top) && allIn(t.replacedBy, tails) {
			g.removeNode(queue[0])
		}
	}

	for _, ch := range g.channels {
		for _, e := range ch.entries {
			if e.bundle == n.name {
				e.replaces = nil
			}
		}
		delete(ch.edges, n.name)
	}
	for _, name := range g.channelNames() {
		if g.channels[name].head == n.name {
			g.removeChannel(name)
		}
	}
	n.deprecated, n.hidden = true, true
	for _, name := range g.channelNames() {
		if g.channels[name].dangling() {
			return sdk.Errorf(sdk.Invalid, "bundle %s cannot be deprecated: channel %s of package %s leads below it by another way", n.image, name, g.name)
		}
	}
	return nil
}

// cut takes a bundle out of the channels that it shares with the deprecated one.
func (g *graph) cut(bundle, deprecated string) {
	for _, ch := range g.channels {
		if !ch.mentions(deprecated) {
			continue
		}
		for _, e := range ch.entries {
			if e.replaces != nil && e.replaces.bundle == bundle {
				e.replaces = nil
			}
		}
		ch.remove(bundle)
	}
}

// tailOf collects everything that can be reached from a bundle downwards, in
// whatever channel.
func (g *graph) tailOf(n *node) (map[string]*tail, error) {
	if !g.inChannels(n.name) {
		return nil, sdk.Errorf(sdk.Invalid, "bundle %s cannot be deprecated: it is in no channel of package %s", n.image, g.name)
	}
	var head string
	if ch := g.channels[g.defaultChannel]; ch != nil {
		head = ch.head
	}
	if head == "" {
		return nil, sdk.Errorf(sdk.Invalid, "bundle %s cannot be deprecated: package %s has no default channel with a head", n.image, g.name)
	}
	tails := map[string]*tail{}
	reached := map[string]bool{n.name: true}
	for queue := []string{n.name}; len(queue) > 0; queue = queue[1:] {
		bundle := queue[0]
		for name, ch := range g.channels {
			for _, e := range ch.entries {
				if e.bundle != bundle {
					continue
				}
				t := tails[bundle]
				if t == nil {
					t = &tail{map[string]bool{}, map[string]bool{}, map[string]bool{}}
					tails[bundle] = t
				}
				t.channels[name] = true
				for _, above := range ch.entries {
					if above.replaces == e {
						t.replacedBy[above.bundle] = true
					}
				}
				if e.replaces == nil {
					continue
				}
				below := e.replaces.bundle
				t.replaces[below] = true
				if !reached[below] {
					reached[below] = true
					queue = append(queue, below)
				}
			}
		}
	}
	if tails[head] != nil {
		return nil, sdk.Errorf(sdk.Invalid, "bundle %s cannot be deprecated: %s, the head of the default channel %s of package %s, would go with it. To deprecate the whole package, list the heads of all its channels",
			n.image, head, g.defaultChannel, g.name)
	}
	return tails, nil
}

func subset(a, b map[string]bool) bool {
	for name := range a {
		if !b[name] {
			return false
		}
	}
	return true
}

func allIn(names map[string]bool, tails map[string]*tail) bool {
	for name := range names {
		if tails[name] == nil {
			return false
		}
	}
	return true
}
