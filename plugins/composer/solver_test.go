package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// fakePackage is a build that a fakeSolver knows.
type fakePackage struct {
	solve.Package
	provides, requires []string
}

// fakeSolver solves over packages in memory, by the rules of the contract's
// section 10 as far as the routes show them.
type fakeSolver struct {
	packages []fakePackage
	groups   map[string][]string

	mu sync.Mutex
	// bad are URLs of sources whose metadata cannot be loaded.
	bad    map[string]bool
	fresh  int // solves that asked for fresh metadata
	solved int
}

func rpm(name, evr string, more ...string) fakePackage {
	epoch, vr, ok := strings.Cut(evr, ":")
	p := fakePackage{Package: solve.Package{Name: name, Arch: "x86_64"}}
	if ok {
		_, _ = fmt.Sscan(epoch, &p.Epoch)
	} else {
		vr = evr
	}
	p.Version, p.Release, _ = strings.Cut(vr, "-")
	for _, m := range more {
		if requires, ok := strings.CutPrefix(m, "requires "); ok {
			p.requires = append(p.requires, requires)
		} else {
			p.provides = append(p.provides, strings.TrimPrefix(m, "provides "))
		}
	}
	return p
}

func newFakeSolver() *fakeSolver {
	return &fakeSolver{
		packages: []fakePackage{
			rpm("bash", "5.1-3", "requires glibc"),
			rpm("bash", "5.2-1", "requires glibc"),
			rpm("glibc", "2.36-9"),
			rpm("httpd", "1:2.4.6-7", "provides webserver", "requires glibc"),
			rpm("httpd-doc", "1:2.4.6-7"),
			rpm("Zlib", "1.2-1"),
			rpm("broken", "1.0-1", "requires nothing-provides-this"),
			rpm("kernel", "6.1-1"),
		},
		groups: map[string][]string{"core": {"bash", "Zlib"}},
		bad:    map[string]bool{"http://localhost:1/bad/": true},
	}
}

func (f *fakeSolver) refuse(url string, bad bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad[url] = bad
}

func (f *fakeSolver) Check(_ context.Context, source solve.Source) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad[source.URL] {
		return sdk.Errorf(sdk.Unavailable, "source %s: cannot download repomd.xml", source.ID)
	}
	return nil
}

func (f *fakeSolver) Solve(ctx context.Context, sources []solve.Source, wishes solve.Wishes, fresh bool) (*solve.Solution, error) {
	for _, source := range sources {
		if err := f.Check(ctx, source); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.solved++
	if fresh {
		f.fresh++
	}
	var problems []string
	s := &solve.Solution{}
	chosen := make(map[string]fakePackage)
	var add func(p fakePackage) error
	add = func(p fakePackage) error {
		if _, ok := chosen[p.Name]; ok {
			return nil
		}
		chosen[p.Name] = p
		for _, r := range p.requires {
			i := slices.IndexFunc(f.packages, func(q fakePackage) bool { return q.Name == r || slices.Contains(q.provides, r) })
			if i < 0 {
				return sdk.Errorf(sdk.Invalid, "There was a problem depsolving %s: nothing provides %s needed by %s", p.Name, r, p)
			}
			if err := add(f.packages[i]); err != nil {
				return err
			}
		}
		return nil
	}
	var roots []fakePackage
	for _, w := range wishes.Packages {
		matches := f.match(w)
		var group []solve.Package
		for _, m := range matches {
			group = append(group, m.Package)
		}
		s.Matches = append(s.Matches, group)
		if len(matches) == 0 {
			problems = append(problems, fmt.Sprintf("%s-%s (No match)", w.Name, w.Version))
		}
		roots = append(roots, matches...)
	}
	for _, g := range wishes.Groups {
		members, ok := f.groups[g]
		if !ok {
			problems = append(problems, fmt.Sprintf("Group %s (not found)", g))
		}
		for _, m := range members {
			roots = append(roots, f.match(solve.Want{Name: m})...)
		}
	}
	if len(problems) > 0 {
		return nil, sdk.Errorf(sdk.Invalid, "The following package(s) had problems: %s", strings.Join(problems, ","))
	}
	for _, p := range roots {
		if err := add(p); err != nil {
			return nil, err
		}
	}
	for _, p := range chosen {
		s.Packages = append(s.Packages, p.Package)
	}
	solve.Sort(s.Packages)
	return s, nil
}

// match returns the packages that a wish stands for, each in its highest version.
func (f *fakeSolver) match(w solve.Want) []fakePackage {
	fits := func(pattern, s string) bool {
		ok, _ := path.Match(pattern, s)
		return pattern == "" || ok
	}
	best := make(map[string]fakePackage)
	named := false
	for _, p := range f.packages {
		if !fits(w.Name, p.Name) {
			continue
		}
		named = true
		if fits(w.Version, p.Version) || w.Version == p.EVRA() {
			if old, ok := best[p.Name]; !ok || old.Compare(p.Package) < 0 {
				best[p.Name] = p
			}
		}
	}
	if !named {
		for _, p := range f.packages {
			if slices.Contains(p.provides, w.Name) {
				best[p.Name] = p
				break
			}
		}
	}
	var found []fakePackage
	for _, p := range best {
		found = append(found, p)
	}
	slices.SortFunc(found, func(a, b fakePackage) int { return a.Compare(b.Package) })
	return found
}

func (f *fakeSolver) Projects(ctx context.Context, sources []solve.Source, globs []string) ([]solve.Project, error) {
	for _, source := range sources {
		if err := f.Check(ctx, source); err != nil {
			return nil, err
		}
	}
	if len(sources) == 0 {
		return nil, nil
	}
	var found []solve.Project
	packages := slices.Clone(f.packages)
	slices.SortFunc(packages, func(a, b fakePackage) int { return a.Compare(b.Package) })
	for _, p := range packages {
		if len(globs) > 0 && !slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(g, p.Name); return ok }) {
			continue
		}
		if n := len(found); n == 0 || found[n-1].Name != p.Name {
			found = append(found, solve.Project{Name: p.Name, Summary: "The " + p.Name, Description: "What it does.", Homepage: "https://example.com"})
		}
		last := &found[len(found)-1]
		last.Builds = append(last.Builds, solve.Build{
			Package: p.Package, Built: time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC), Changelog: "- first", License: "MIT",
		})
	}
	return found, nil
}
