package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/pkg/registry"
	"sigs.k8s.io/yaml"

	"github.com/iib-engine/iib/sdk/bundle/bundletest/published"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest/opm"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// publishedVersions bounds the versions of a package that are pushed, and
// publishedPackages the packages.
const publishedVersions = 3

var publishedPackages = published.All

// TestRealBundlesAreAddedAsOperatorRegistryDoes pushes published bundles
// as images, adds them package by package in version order, reads the index
// images back, and compares each package with what operator-registry makes of
// the same sequence. The library's tests do so for more versions.
func TestRealBundlesAreAddedAsOperatorRegistryDoes(t *testing.T) {
	packages := published.Packages(t, publishedPackages)
	r := newReleases(t, startServer(t, ""))
	empty := map[indexKind]string{
		fileBased:  r.emptyIndex("empty-files:v4.14", fileBased, false),
		sqliteKind: r.emptyIndex("empty-database:v4.14", sqliteKind, false),
	}
	// A few requests at once: more than the engine runs would wait only.
	turns := make(chan struct{}, 4)
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			r := r.in(t)
			dirs := packages[name]
			inputs := r.pushPublished(name, dirs[:min(len(dirs), publishedVersions)])
			theirs, err := opm.New(filepath.Join(t.TempDir(), "reference.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			index := maps.Clone(empty)
			var added, dropped []string
			for _, in := range inputs {
				cfg, refusal := theirs.Add(registry.ReplacesMode, false, []opm.Input{in})
				var want *opm.Canonical
				if refusal == nil {
					added = append(added, in.Name)
					want = r.written(cfg, in.Package)
					for _, name := range added {
						if want.Bundles[name] == "" {
							dropped = append(dropped, name)
						}
					}
				}
				for kind, from := range index {
					image, difference := r.addPublished(from, in, want, refusal)
					switch {
					case difference == "" && image != "":
						index[kind] = image
					case difference != "" && kind == fileBased && len(dropped) > 0:
						// Package catalog documents it.
						t.Logf("files have forgotten one of %q, which are in no channel: only the database is compared from %s on", dropped, in.Name)
						delete(index, kind)
					case difference != "":
						t.Fatalf("%s, %s: %s", in.Dir, kind, difference)
					}
				}
			}
		})
	}
}

// addPublished adds a bundle to an index and tells how what the index has then
// differs from what operator-registry made. The image is empty if both refuse.
func (r *releases) addPublished(index string, in opm.Input, want *opm.Canonical, refusal error) (image, difference string) {
	r.t.Helper()
	build := r.attempt("add", map[string]any{"bundles": []string{in.Image}, "from_index": index})
	if (build["state"] == "complete") != (refusal == nil) {
		return "", fmt.Sprintf("operator-registry says: %v\nwe say: %v", refusal, build["state_reason"])
	}
	if refusal != nil {
		return "", ""
	}
	image = build["index_image_resolved"].(string)
	got := r.readPackage(image, in.Package)
	withoutMaximum(want, got)
	return image, cmp.Diff(want, got)
}

// withoutMaximum takes the property that an add gives to bundles with APIs that
// Kubernetes removed, which is not opm's work, out of what we made. opm's
// have it only if their authors wrote it.
func withoutMaximum(theirs, ours *opm.Canonical) {
	const maximum = `{"type":"olm.maxOpenShiftVersion","value":4.8},`
	for name, text := range ours.Bundles {
		if !strings.Contains(theirs.Bundles[name], maximum) {
			ours.Bundles[name] = strings.Replace(text, maximum, "", 1)
		}
	}
}

// in is the same releases in a subtest.
func (r *releases) in(t *testing.T) *releases {
	p := *r.process
	p.t = t
	return &releases{process: &p, pusher: r.pusher, base: r.base}
}

// pushing is because a pusher counts what it makes.
var pushing sync.Mutex

// pushPublished pushes unpacked bundles as images, with their annotations as
// labels, as those who build bundles do.
func (r *releases) pushPublished(name string, dirs []string) []opm.Input {
	r.t.Helper()
	var inputs []opm.Input
	for i, dir := range dirs {
		files := make(map[string][]byte)
		if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			relative, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			files[filepath.ToSlash(relative)], err = os.ReadFile(path)
			return err
		}); err != nil {
			r.t.Fatal(err)
		}
		var annotations struct{ Annotations map[string]string }
		if err := yaml.Unmarshal(files["metadata/annotations.yaml"], &annotations); err != nil {
			r.t.Fatal(err)
		}
		spec := fmt.Sprintf("%s/published/%s:v%d", r.registry(), name, i)
		pushing.Lock()
		digest, err := r.pusher.Push(context.Background(), spec, imagetest.Image{Files: files, Labels: annotations.Annotations, Single: true})
		pushing.Unlock()
		if err != nil {
			r.t.Fatal(err)
		}
		in := opm.Input{Image: fmt.Sprintf("%s/published/%s@%s", r.registry(), name, digest), Dir: dir}
		in.Bundle = catalogtest.Bundle{Package: name}
		// What cannot be read is refused by both.
		if b, err := catalog.ReadBundle(dir, in.Image); err == nil {
			in.Bundle = catalogtest.Bundle{Package: b.Package, Name: b.Name, Channels: b.Channels}
		}
		inputs = append(inputs, in)
	}
	return inputs
}

// written is a package of a catalog as opm would read it.
func (r *releases) written(cfg *declcfg.DeclarativeConfig, name string) *opm.Canonical {
	r.t.Helper()
	read, err := opm.Written(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return opm.Canonicalize(read)[name]
}

// readPackage reads a package back from an index image.
func (r *releases) readPackage(spec, name string) *opm.Canonical {
	r.t.Helper()
	ctx := context.Background()
	info, err := r.pusher.Client.Inspect(ctx, spec, "ppc64le")
	if err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	if path := info.Labels[databaseLabel]; path != "" && info.Labels[configsLabel] == "" {
		if err := r.pusher.Client.ExtractDirs(ctx, spec, "ppc64le", dir, path); err != nil {
			r.t.Fatal(err)
		}
		db := &opm.Reference{Path: filepath.Join(dir, path)}
		defer db.Close()
		cfg, err := db.Catalog()
		if err != nil {
			r.t.Fatal(err)
		}
		return r.written(cfg, name)
	}
	configs := info.Labels[configsLabel]
	if err := r.pusher.Client.ExtractDirs(ctx, spec, "ppc64le", dir, configs); err != nil {
		r.t.Fatal(err)
	}
	cfg, err := declcfg.LoadFS(ctx, os.DirFS(filepath.Join(dir, configs)))
	if err != nil {
		r.t.Fatal(err)
	}
	return opm.Canonicalize(cfg)[name]
}
