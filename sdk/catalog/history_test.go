package catalog_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// step is one request of a history.
type step struct {
	add       []catalogtest.Bundle
	mode      catalog.Mode
	overwrite bool
	remove    []string
	deprecate []string // bundle names
}

func (s step) String() string {
	switch {
	case len(s.remove) > 0:
		return "rm " + strings.Join(s.remove, ", ")
	case len(s.deprecate) > 0:
		return "deprecate " + strings.Join(s.deprecate, ", ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "add mode=%s overwrite=%t", s.mode, s.overwrite)
	for _, x := range s.add {
		fmt.Fprintf(&b, "\n    %s: %s version=%s channels=%s default=%s", x.Package, x.Name, x.Version, strings.Join(x.Channels, ","), x.DefaultChannel)
		if x.Replaces != "" {
			fmt.Fprintf(&b, " replaces=%s", x.Replaces)
		}
		if len(x.Skips) > 0 {
			fmt.Fprintf(&b, " skips=%s", strings.Join(x.Skips, ","))
		}
		if x.SkipRange != "" {
			fmt.Fprintf(&b, " skipRange=%q", x.SkipRange)
		}
		if x.SubstitutesFor != "" {
			fmt.Fprintf(&b, " substitutesFor=%s", x.SubstitutesFor)
		}
		if x.Seed != 0 {
			fmt.Fprintf(&b, " seed=%d", x.Seed)
		}
	}
	return b.String()
}

var referenceModes = map[catalog.Mode]registry.Mode{
	catalog.Replaces:        registry.ReplacesMode,
	catalog.Semver:          registry.SemVerMode,
	catalog.SemverSkipPatch: registry.SkipPatchMode,
}

// historian writes histories that mostly make sense: enough of the bundles
// must be accepted for the graphs to grow.
type historian struct {
	*rand.Rand
	made  map[string][]catalogtest.Bundle // by package, in the order made
	modes []catalog.Mode
}

func newHistory(seed uint64) []step {
	h := &historian{Rand: rand.New(rand.NewPCG(seed, 14)), made: map[string][]catalogtest.Bundle{}}
	// Most catalogs stay with one mode.
	all := []catalog.Mode{catalog.Replaces, catalog.Semver, catalog.SemverSkipPatch}
	switch h.IntN(10) {
	case 0:
		h.modes = all
	case 1, 2:
		h.modes = all[1:2]
	case 3:
		h.modes = all[2:]
	default:
		h.modes = all[:1]
	}
	packages := []string{"ant", "bee"}[:1+h.IntN(2)]
	var steps []step
	for range 2 + h.IntN(6) {
		steps = append(steps, h.step(packages))
	}
	return steps
}

func (h *historian) step(packages []string) step {
	pkg := packages[h.IntN(len(packages))]
	switch n := h.IntN(20); {
	case n == 0:
		return step{remove: []string{pkg}}
	case n <= 3 && len(h.made[pkg]) > 0:
		var names []string
		for range 1 + h.IntN(3) {
			names = append(names, h.pick(pkg).Name)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		h.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		return step{deprecate: names}
	case n <= 5 && len(h.made[pkg]) > 0:
		b := h.pick(pkg)
		if h.IntN(3) > 0 {
			b = h.made[pkg][len(h.made[pkg])-1]
		}
		b.Seed++
		if h.IntN(3) == 0 {
			b = h.vary(b)
		}
		return step{add: []catalogtest.Bundle{b}, mode: h.mode(), overwrite: h.IntN(4) > 0}
	}
	var add []catalogtest.Bundle
	for range []int{1, 1, 1, 2, 2, 3}[h.IntN(6)] {
		add = append(add, h.bundle(packages[h.IntN(len(packages))]))
	}
	s := step{add: add, mode: h.mode(), overwrite: h.IntN(10) == 0}
	if s.overwrite {
		s.add = withoutTwins(s.add)
	}
	return s
}

// withoutTwins leaves each bundle once: the package's documentation lists the
// difference that there is.
func withoutTwins(bundles []catalogtest.Bundle) []catalogtest.Bundle {
	seen := make(map[string]bool)
	return slices.DeleteFunc(bundles, func(b catalogtest.Bundle) bool {
		image := b.Image(catalogtest.Registry)
		twin := seen[image]
		seen[image] = true
		return twin
	})
}

func (h *historian) mode() catalog.Mode { return h.modes[h.IntN(len(h.modes))] }

func (h *historian) pick(pkg string) catalogtest.Bundle {
	return h.made[pkg][h.IntN(len(h.made[pkg]))]
}

// bundle makes the next bundle of a package.
func (h *historian) bundle(pkg string) catalogtest.Bundle {
	made := h.made[pkg]
	version := fmt.Sprintf("1.%d.%d", len(made)/3, len(made)%3)
	if h.IntN(12) == 0 {
		version = fmt.Sprintf("1.%d.%d", h.IntN(4), h.IntN(4)) // out of order, or twice
	}
	b := catalogtest.Bundle{Package: pkg, Version: version, Name: pkg + ".v" + version, Channels: []string{"stable"}, DefaultChannel: "stable"}
	if len(made) > 0 {
		last := made[len(made)-1]
		b.Channels, b.DefaultChannel = last.Channels, last.DefaultChannel
		b.Replaces = last.Name
		switch h.IntN(10) {
		case 0:
			b.Replaces = h.pick(pkg).Name
		case 1:
			b.Replaces = ""
		case 2: // z-stream: takes the place of the one before
			b.Replaces, b.Skips = last.Replaces, append(slices.Clone(last.Skips), last.Name)
		case 3:
			b = h.rebuild(b, last)
		}
	}
	b = h.vary(b)
	h.made[pkg] = append(h.made[pkg], b)
	return b
}

// rebuild makes the bundle substitute for another one.
func (h *historian) rebuild(b, of catalogtest.Bundle) catalogtest.Bundle {
	if h.IntN(3) == 0 {
		of = h.pick(of.Package)
	}
	base, _, _ := strings.Cut(of.Version, "+")
	b.Version = fmt.Sprintf("%s+%d", base, 1+h.IntN(4))
	b.Name = b.Package + ".v" + strings.ReplaceAll(b.Version, "+", "-")
	b.SubstitutesFor, b.Replaces = of.Name, of.Replaces
	if h.IntN(6) == 0 {
		b.Replaces = of.Name
	}
	return b
}

// vary makes some bundles unusual.
func (h *historian) vary(b catalogtest.Bundle) catalogtest.Bundle {
	switch h.IntN(12) {
	case 0:
		b.Channels = []string{"beta", "stable"}
	case 1:
		b.Channels = []string{"stable", "alpha"}
	case 2:
		b.Channels = []string{"beta"}
	case 3:
		b.Channels = []string{"alpha", "beta", "stable"}
	}
	switch h.IntN(12) {
	case 0:
		b.DefaultChannel = ""
	case 1:
		b.DefaultChannel = b.Channels[0]
	case 2:
		b.DefaultChannel = "beta"
	}
	switch h.IntN(12) {
	case 0:
		b.SkipRange = ">=1.0.0 <" + strings.Split(b.Version, "+")[0]
	case 1:
		b.Skips = append(slices.Clone(b.Skips), b.Package+".v0.9.0")
	case 2:
		if len(h.made[b.Package]) > 0 {
			b.Skips = append(slices.Clone(b.Skips), h.pick(b.Package).Name)
		}
	case 3:
		b.Requires = map[string]string{"cow": ">=1.0.0"}
		b.MaxOpenShift = "4.8"
	}
	switch h.IntN(40) {
	case 0:
		b.Replaces = b.Package + ".v0.8.0"
	case 1:
		b.Replaces = "bee.v1.0.0"
	case 2:
		b.SubstitutesFor = b.Name
	}
	return b
}
