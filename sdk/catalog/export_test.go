package catalog

import "slices"

// Edges are what an upgrade graph knows about a bundle.
type Edges struct {
	Replaces, SkipRange, SubstitutesFor string
	Skips                               []string
}

// FileEdges returns what can be learned about the bundles of a file-based
// package, nil if its channels disagree about it. Bundles that are only named
// by others are left out.
func FileEdges(p *Package) (map[string]Edges, error) {
	g, _, err := loadPackage(p)
	if err != nil {
		return nil, err
	}
	for _, ch := range g.channels {
		if len(ch.edges) > 0 || ch.end != "" || len(ch.loose) > 0 {
			return nil, nil
		}
	}
	out := map[string]Edges{}
	for name, n := range g.nodes {
		if !n.tombstone {
			out[name] = Edges{n.replaces, n.skipRange, n.substitutesFor, slices.Sorted(slices.Values(n.skips))}
		}
	}
	return out, nil
}
