package main

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// node is a bundle as the walk meets it.
type node struct {
	// spec is how the bundle that led here names it.
	spec string
	// id is the same for all names of one bundle.
	id    string
	image *bundle.Image
}

// walk finds all bundles that one relates to, level by level.
type walk struct {
	// expand returns the bundles that one names, in order. It is called once
	// for each id, for some of a level at the same time.
	expand func(ctx context.Context, n node) ([]node, error)
	// tooMany is the number of related bundles that is refused.
	tooMany int

	// related are the bundles that were expanded, by id.
	related map[string][]node
}

// run returns the specs of all bundles, the deepest level first and the parent
// last. A bundle that is reached in several ways is listed once, where it is
// deepest, so that every bundle comes after those that it needs.
func (w *walk) run(ctx context.Context, parent node) ([]string, error) {
	w.related = make(map[string][]node)
	var order []string
	for level := []node{parent}; len(level) > 0; {
		if err := w.expandAll(ctx, level); err != nil {
			return nil, err
		}
		if n := w.count(); n >= w.tooMany {
			return nil, sdk.Errorf(sdk.Invalid,
				"bundle %s relates to at least %d others, directly or not; at most %d are allowed", parent.spec, n, w.tooMany-1)
		}
		if circle := w.circle(parent); circle != nil {
			return nil, sdk.Errorf(sdk.Invalid,
				"bundle %s; bundles that need each other have no order: remove one of these relations",
				strings.Join(circle, " relates to "))
		}
		var next []node
		for _, n := range level {
			order = append(order, n.spec)
			next = append(next, w.related[n.id]...)
		}
		level = deepest(next)
	}
	slices.Reverse(order)
	return unique(order), nil
}

// expandAll asks about the bundles of a level that were not asked about yet.
func (w *walk) expandAll(ctx context.Context, level []node) error {
	var unknown []node
	for _, n := range level {
		if _, known := w.related[n.id]; !known {
			w.related[n.id] = nil
			unknown = append(unknown, n)
		}
	}
	results := make([][]node, len(unknown))
	errs := make([]error, len(unknown))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, n := range unknown {
		g.Go(func() error {
			results[i], errs[i] = w.expand(ctx, n)
			return nil
		})
	}
	_ = g.Wait()
	for i, n := range unknown {
		if errs[i] != nil {
			return sdk.Errorf(sdk.CodeOf(errs[i]), "bundle %s: %w", n.spec, errs[i])
		}
		w.related[n.id] = results[i]
	}
	return nil
}

// parallel bounds the bundles that are read at a time.
const parallel = 4

// count returns the number of related bundles found so far.
func (w *walk) count() int {
	specs := make(map[string]bool)
	for _, nodes := range w.related {
		for _, n := range nodes {
			specs[n.spec] = true
		}
	}
	return len(specs)
}

// circle returns the specs on a way from a bundle back to itself, the same one
// first and last, or nil if no bundle that can be reached from n needs itself.
func (w *walk) circle(n node) []string {
	var trail []node
	done := make(map[string]bool)
	var visit func(n node) []string
	visit = func(n node) []string {
		if i := slices.IndexFunc(trail, func(t node) bool { return t.id == n.id }); i >= 0 {
			var specs []string
			for _, t := range append(trail[i:], n) {
				specs = append(specs, t.spec)
			}
			return specs
		}
		if done[n.id] {
			return nil
		}
		trail = append(trail, n)
		for _, next := range w.related[n.id] {
			if specs := visit(next); specs != nil {
				return specs
			}
		}
		trail = trail[:len(trail)-1]
		done[n.id] = true
		return nil
	}
	return visit(n)
}

// deepest drops all but the last node of each spec: the list is reversed in
// the end.
func deepest(nodes []node) []node {
	var kept []node
	seen := make(map[string]bool)
	for _, n := range slices.Backward(nodes) {
		if !seen[n.spec] {
			seen[n.spec] = true
			kept = append(kept, n)
		}
	}
	slices.Reverse(kept)
	return kept
}

// unique drops repetitions and keeps the first of each.
func unique(specs []string) []string {
	kept := make([]string, 0, len(specs))
	for _, s := range specs {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}
