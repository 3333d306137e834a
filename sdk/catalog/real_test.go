package catalog_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk/bundle/bundletest/published"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest/opm"
)

// realPackages is how many of the published packages are tried.
var realPackages = published.All

// realVersions bounds the versions of a package that are tried, the oldest
// first: operator-registry takes the longer for each the more there are.
var realVersions = flag.Int("real-versions", 8, "how many versions of a published package to add, 0 for all")

func TestRealPackagesAreAsOperatorRegistryMakesThem(t *testing.T) {
	packages := published.Packages(t, realPackages)
	if len(packages) < min(40, realPackages) {
		t.Fatalf("only %d packages", len(packages))
	}
	names := slices.Sorted(maps.Keys(packages))
	for _, pkg := range names {
		dirs := packages[pkg]
		if n := *realVersions; n > 0 && len(dirs) > n {
			dirs = dirs[:n]
		}
		t.Run(pkg, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			dir := t.TempDir()
			theirs, err := opm.New(filepath.Join(dir, "theirs.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			db, err := catalog.CreateDatabase(ctx, filepath.Join(dir, "ours.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			files := &catalog.Package{}
			read := map[string]*catalog.Bundle{}
			dropped := map[string]bool{} // what no channel had any more, once
			for i, from := range dirs {
				image := fmt.Sprintf("registry.example.com/real/%s@sha256:%064x", pkg, i)
				b, readErr := catalog.ReadBundle(from, image)
				in := opm.Input{Dir: from, Image: image, Bundle: catalogtest.Bundle{Package: pkg}}
				if readErr == nil {
					in.Bundle = catalogtest.Bundle{Package: b.Package, Name: b.Name, Channels: b.Channels}
				}
				err := readErr
				if err == nil {
					err = db.Add(ctx, []*catalog.Bundle{b}, catalog.AddOptions{})
				}
				// The migration, which also refuses, takes long.
				compared := i == len(dirs)-1 || i%10 == 9
				cfg, theirErr := theirs.AttemptOnly(func(db *sql.DB) error {
					return opm.Add(db, registry.ReplacesMode, false, []opm.Input{in})
				}, compared || err != nil)
				if (err == nil) != (theirErr == nil) {
					t.Fatalf("%s: operator-registry says: %v\nwe say: %v", filepath.Base(from), theirErr, err)
				}
				if readErr == nil {
					read[b.Name] = b
					files = addToFiles(t, files, b, read, theirErr)
				}
				if err != nil {
					t.Logf("%s is refused: %v", filepath.Base(from), err)
					continue
				}
				p, err := db.Package(ctx, b.Package)
				if err != nil {
					t.Fatal(err)
				}
				ours, err := opm.OfPackage(p)
				if err != nil {
					t.Fatal(err)
				}
				for name := range read {
					dropped[name] = dropped[name] || ours.Bundles[name] == ""
				}
				if !compared {
					continue
				}
				want := opm.Canonicalize(cfg)[b.Package]
				if d := cmp.Diff(want, ours); d != "" {
					t.Fatalf("database, after %s: %s", filepath.Base(from), d)
				}
				files = compareFiles(t, filepath.Base(from), b.Name, want, files, p, dropped)
			}
		})
	}
}

// compareFiles compares a file-based package with what there should be. Where
// a database, whose package p is, brings back bundles and edges that had dropped
// out, the package's documentation lists the difference: it returns p then, so
// that both have the same again.
func compareFiles(t *testing.T, version, added string, want *opm.Canonical, files, p *catalog.Package, dropped map[string]bool) *catalog.Package {
	t.Helper()
	ours, err := opm.OfPackage(files)
	if err != nil {
		t.Fatal(err)
	}
	d := cmp.Diff(want, ours)
	if d == "" {
		return files
	}
	back := append(cameBack(want, ours, dropped), forgotten(want, ours, added)...)
	if len(back) == 0 {
		t.Fatalf("files, after %s: %s", version, d)
	}
	t.Logf("after %s: a database brings back %q", version, back)
	return p
}

// cameBack returns the bundles that a database has and the files have no more,
// because they had dropped out.
func cameBack(want, ours *opm.Canonical, dropped map[string]bool) []string {
	var back []string
	for name := range want.Bundles {
		if ours.Bundles[name] == "" && dropped[name] {
			back = append(back, name)
		}
	}
	slices.Sort(back)
	return back
}

// forgotten returns the bundles other than the added one of which no channel of
// the files has the edge that the database knows.
func forgotten(want, ours *opm.Canonical, added string) []string {
	var edges []string
	for _, entries := range want.Channels {
		for name, e := range entries {
			if name == added || e.Replaces == "" || slices.Contains(edges, name+" replaces "+e.Replaces) {
				continue
			}
			known := false
			for _, others := range ours.Channels {
				known = known || others[name].Replaces != ""
			}
			if !known {
				edges = append(edges, name+" replaces "+e.Replaces)
			}
		}
	}
	slices.Sort(edges)
	return edges
}

// addToFiles adds a bundle to the file-based package. A bundle that dropped
// out of all channels is gone from the files while a database still knows it;
// one that replaces it is accepted together with it.
func addToFiles(t *testing.T, files *catalog.Package, b *catalog.Bundle, read map[string]*catalog.Bundle, theirErr error) *catalog.Package {
	t.Helper()
	p, err := catalog.Add(files, []*catalog.Bundle{b}, catalog.AddOptions{})
	if before := read[b.Replaces]; err != nil && theirErr == nil && before != nil {
		t.Logf("%v; adding both", err)
		groups, groupErr := catalog.Group([]*catalog.Bundle{b, before})
		if groupErr != nil {
			t.Fatal(groupErr)
		}
		p, err = catalog.Add(files, groups[0], catalog.AddOptions{})
	}
	if (err == nil) != (theirErr == nil) {
		t.Errorf("%s: operator-registry says: %v\nour files say: %v", b.Name, theirErr, err)
	}
	if err != nil {
		return files
	}
	return p
}
