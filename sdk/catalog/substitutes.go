package catalog

import (
	"maps"
	"slices"

	"github.com/blang/semver/v4"

	"github.com/iib-engine/iib/sdk"
)

// substitute lets a new bundle take effect as a rebuild of another one, and
// lets rebuilds that came before it take effect on the new bundle: who
// substitutes for a bundle is replaced and skipped in its stead.
//
// The catalogs that exist were made by this order of steps, and the outcome
// depends on it.
func (g *graph) substitute(n *node) error {
	declared, declaredReplaces := slices.Clone(n.skips), n.replaces
	if n.substitutesFor != "" {
		g.redirect(n.substitutesFor, n.name)
		if err := g.lineUp(n, declared); err != nil {
			return err
		}
	}

	// Whatever the substituted bundle stood for itself is skipped as well.
	skips := declared
	seen := map[string]bool{n.name: true}
	for target := n.substitutesFor; target != ""; {
		if seen[target] {
			return g.circular(n.name, target)
		}
		seen[target] = true
		skips = append(skips, target)
		next, ok := g.nodes[target]
		if !ok {
			break
		}
		target = next.substitutesFor
	}

	// Substitutes that were there first take over what the bundle skips.
	above := g.substitutesOf(n.name)
	if len(above) > 1 {
		return nil
	}
	seen = map[string]bool{n.name: true}
	for len(above) > 0 {
		if seen[above[0]] {
			return g.circular(n.name, above[0])
		}
		seen[above[0]] = true
		g.addSkips(g.nodes[above[0]], append(slices.Clone(skips), n.name))
		if above = g.substitutesOf(above[0]); len(above) > 1 {
			return nil
		}
	}

	skips, done, err := g.spreadSkips(n, skips)
	if err != nil || !done {
		return err
	}
	replaces, done, err := g.latestSubstitute(declaredReplaces)
	if err != nil || !done {
		return err
	}
	n.replaces, n.skips = replaces, skips
	return nil
}

// redirect lets all that replaces the bundle from replace to instead.
func (g *graph) redirect(from, to string) {
	for _, n := range g.nodes {
		if n.replaces == from {
			n.replaces = to
		}
	}
	for _, ch := range g.channels {
		for name, e := range ch.edges {
			if e.replaces == from {
				e.replaces = to
				ch.edges[name] = e
			}
		}
	}
}

// lineUp orders several substitutes of one bundle by version: each stands for
// the one below it.
func (g *graph) lineUp(n *node, skips []string) error {
	queue := g.substitutesOf(n.substitutesFor)
	seen := map[string]bool{n.name: true}
	for len(queue) > 0 {
		other := queue[0]
		queue = queue[1:]
		if other == n.name {
			continue
		}
		if seen[other] {
			return g.circular(n.name, other)
		}
		seen[other] = true
		order, err := g.compare(g.nodes[other], n)
		if err != nil {
			return err
		}
		switch {
		case order < 0:
			n.substitutesFor = other
			queue = append(queue, g.substitutesOf(other)...)
		case order > 0:
			g.nodes[other].substitutesFor = n.name
			g.addSkips(g.nodes[other], append(slices.Clone(skips), n.name))
			if len(g.substitutesOf(n.name)) > 1 {
				return sdk.Errorf(sdk.Invalid, "package %s: more than one bundle would substitute for %s", g.name, n.name)
			}
		default:
			return sdk.Errorf(sdk.Invalid, "package %s: the bundles %s and %s substitute for the same bundle and have the same version", g.name, other, n.name)
		}
	}
	return nil
}

func (g *graph) compare(a, b *node) (int, error) {
	va, err := semver.Parse(a.version)
	if err != nil {
		return 0, sdk.Errorf(sdk.Invalid, "bundle %s of package %s has the version %q, which is not a semantic version", a.name, g.name, a.version)
	}
	vb, err := semver.Parse(b.version)
	if err != nil {
		return 0, sdk.Errorf(sdk.Invalid, "bundle %s of package %s has the version %q, which is not a semantic version", b.name, g.name, b.version)
	}
	order, err := compareBuild(va, vb)
	if err != nil {
		return 0, sdk.Errorf(sdk.Invalid, "package %s: compare the versions %s and %s: %v", g.name, va, vb, err)
	}
	return order, nil
}

// spreadSkips adds the substitutes of all skipped bundles. It reports false if
// one of those has rival substitutes, which ends the procedure without effect.
func (g *graph) spreadSkips(n *node, skips []string) ([]string, bool, error) {
	if len(skips) == 0 {
		return skips, true, nil
	}
	more := map[string]bool{}
	for _, skip := range skips {
		above := g.substitutesOf(skip)
		if len(above) > 1 {
			return nil, false, nil
		}
		seen := map[string]bool{skip: true}
		for len(above) > 0 && above[0] != n.name {
			if seen[above[0]] {
				return nil, false, g.circular(n.name, above[0])
			}
			seen[above[0]] = true
			more[above[0]] = true
			if above = g.substitutesOf(above[0]); len(above) > 1 {
				return nil, false, nil
			}
		}
	}
	return unique(append(skips, slices.Sorted(maps.Keys(more))...)), true, nil
}

// latestSubstitute follows the substitutes of a replaced bundle to the last.
func (g *graph) latestSubstitute(replaces string) (string, bool, error) {
	if replaces == "" {
		return "", true, nil
	}
	seen := map[string]bool{replaces: true}
	for above := g.substitutesOf(replaces); len(above) > 0; {
		replaces = above[0]
		if seen[replaces] {
			return "", false, g.circular(replaces, replaces)
		}
		seen[replaces] = true
		if above = g.substitutesOf(replaces); len(above) > 1 {
			return "", false, nil
		}
	}
	return replaces, true, nil
}

func (g *graph) circular(a, b string) error {
	return sdk.Errorf(sdk.Invalid, "package %s: the substitutesFor of bundle %s leads to itself through %s; correct the annotation olm.substitutesFor", g.name, a, b)
}

// substitutesOf names the bundles that substitute for this one.
func (g *graph) substitutesOf(bundle string) []string {
	var names []string
	for _, n := range g.sortedNodes() {
		if n.substitutesFor == bundle {
			names = append(names, n.name)
		}
	}
	return names
}

// addSkips lets a node skip more bundles, in all its channels.
func (g *graph) addSkips(n *node, skips []string) {
	n.skips = merge(n.skips, skips)
	for _, ch := range g.channels {
		if e, ok := ch.edges[n.name]; ok {
			e.skips = merge(e.skips, skips)
			ch.edges[n.name] = e
		}
	}
}

// merge appends the names that are not in the list yet. A name that is twice
// among the new ones is appended twice.
func merge(list, names []string) []string {
	have := map[string]bool{}
	for _, name := range list {
		have[name] = true
	}
	out := slices.Clone(list)
	for _, name := range names {
		if !have[name] {
			out = append(out, name)
		}
	}
	return out
}

func unique(names []string) []string {
	have := map[string]bool{}
	var out []string
	for _, name := range names {
		if !have[name] {
			have[name] = true
			out = append(out, name)
		}
	}
	return out
}
