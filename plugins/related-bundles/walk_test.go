package main

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

// graph maps a bundle to those that it names: "a" to "b c". A name may have an
// id of its own: "b=1".
type graph map[string]string

func parseNode(name string) node {
	spec, id, ok := strings.Cut(name, "=")
	if !ok {
		id = spec
	}
	return node{spec: spec, id: id}
}

func (g graph) walk(t *testing.T, tooMany int) ([]string, map[string]int, error) {
	t.Helper()
	var mu sync.Mutex
	asked := make(map[string]int)
	w := &walk{tooMany: tooMany, expand: func(_ context.Context, n node) ([]node, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[n.id]++
		var nodes []node
		for _, name := range strings.Fields(g[n.id]) {
			if name == "missing" {
				return nil, sdk.Errorf(sdk.NotFound, "missing: not found")
			}
			nodes = append(nodes, parseNode(name))
		}
		return nodes, nil
	}}
	specs, err := w.run(t.Context(), parseNode("a"))
	return specs, asked, err
}

func TestBundlesAreListedDeepestFirst(t *testing.T) {
	tests := map[string]struct {
		graph graph
		want  string
	}{
		"no related bundles":          {graph{}, "a"},
		"one level":                   {graph{"a": "b c"}, "c b a"},
		"two levels":                  {graph{"a": "b c", "b": "d e", "c": "f"}, "f e d c b a"},
		"a diamond":                   {graph{"a": "b c", "b": "d", "c": "d"}, "d c b a"},
		"a shortcut":                  {graph{"a": "d b", "b": "c", "c": "d"}, "d c b a"},
		"the same twice in one":       {graph{"a": "b b"}, "b a"},
		"two names of one":            {graph{"a": "b=1 c=1", "1": "d"}, "d c b a"},
		"diamonds on top of diamonds": {graph{"a": "b c", "b": "d e", "c": "d e", "d": "f g", "e": "f g"}, "g f e d c b a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, asked, err := test.graph.walk(t, defaultMax)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
			for id, times := range asked {
				if times != 1 {
					t.Errorf("%s was read %d times", id, times)
				}
			}
		})
	}
}

func TestCirclesAreRefusedWithTheirMembers(t *testing.T) {
	for name, test := range map[string]struct {
		graph graph
		want  string
	}{
		"itself":             {graph{"a": "b a"}, "a relates to a"},
		"back to the parent": {graph{"a": "b", "b": "c", "c": "a"}, "a relates to b relates to c relates to a"},
		"further down":       {graph{"a": "b", "b": "c", "c": "d", "d": "c"}, "c relates to d relates to c"},
		"by another name":    {graph{"a": "b=1", "1": "c=2", "2": "d=1"}, "b relates to c relates to d"},
		"on one level":       {graph{"a": "b c d", "c": "d", "d": "c"}, "c relates to d relates to c"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := test.graph.walk(t, defaultMax)
			want := "bundle " + test.want + "; bundles that need each other have no order: remove one of these relations"
			if sdk.CodeOf(err) != sdk.Invalid || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

func TestTooManyRelatedBundlesAreRefused(t *testing.T) {
	chain := graph{"a": "b", "b": "c", "c": "d"}
	if got, _, err := chain.walk(t, 4); err != nil || len(got) != 4 {
		t.Errorf("three of at most three: %v, %v", got, err)
	}
	_, asked, err := chain.walk(t, 3)
	if sdk.CodeOf(err) != sdk.Invalid || err.Error() != "bundle a relates to at least 3 others, directly or not; at most 2 are allowed" {
		t.Errorf("three of at most two: %v", err)
	}
	if asked["d"] != 0 {
		t.Error("the bundle that was too many was read")
	}
	wide := graph{"a": "b b b c"}
	if got, _, err := wide.walk(t, 3); err != nil || len(got) != 3 {
		t.Errorf("repetitions were counted: %v, %v", got, err)
	}
}

func TestAFaultNamesTheBundleThatItIsIn(t *testing.T) {
	_, _, err := graph{"a": "b c", "c": "missing"}.walk(t, defaultMax)
	if sdk.CodeOf(err) != sdk.NotFound || err.Error() != "bundle c: missing: not found" {
		t.Errorf("error %v", err)
	}
}
