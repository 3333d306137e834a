package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

const (
	configsLabel  = "operators.operatorframework.io.index.configs.v1"
	databaseLabel = "operators.operatorframework.io.index.database.v1"
	versionLabel  = "com.redhat.index.delivery.version"
	scopeLabel    = "com.redhat.index.delivery.distribution_scope"
	hiddenFile    = "var/lib/iib/_hidden/do.not.edit.db"
)

// releases is a registry with what a release team has: bundles, a base image,
// and the index that a case needs.
type releases struct {
	*process
	pusher *imagetest.Pusher
	base   string
}

func newReleases(t testing.TB, p *process) *releases {
	t.Helper()
	pusher, err := imagetest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &releases{process: p, pusher: pusher}
	r.base = r.push("operator-registry:v4.14", imagetest.Image{Arches: imagetest.Arches, Files: map[string][]byte{"bin/opm": []byte("opm")}})
	return r
}

// registry is the host of the embedded registry.
func (r *releases) registry() string { return strings.TrimPrefix(r.url, "http://") }

func (r *releases) push(name string, i imagetest.Image) string {
	r.t.Helper()
	spec := r.registry() + "/release/" + name
	if _, err := r.pusher.Push(context.Background(), spec, i); err != nil {
		r.t.Fatal(err)
	}
	return spec
}

// bundles pushes n versions of an operator.
func (r *releases) bundles(operator, n int) (specs []string, list []catalogtest.Bundle) {
	r.t.Helper()
	for _, b := range catalogtest.Operator(11, operator, n) {
		specs = append(specs, r.push(fmt.Sprintf("%s:v%s", b.Package, b.Version), imagetest.Image{Labels: b.Labels(), Files: b.Files()}))
		list = append(list, b)
	}
	return specs, list
}

// index kinds that a request may start from.
type indexKind string

const (
	fileBased  indexKind = "file-based"
	withHidden indexKind = "file-based with a hidden database"
	sqliteKind indexKind = "SQLite"
)

// emptyIndex pushes an index without operators.
func (r *releases) emptyIndex(name string, kind indexKind, oci bool) string {
	r.t.Helper()
	i := imagetest.Image{
		Arches: imagetest.Arches, OCI: oci,
		Labels: map[string]string{versionLabel: "v4.14", scopeLabel: "prod", configsLabel: "/configs"},
		Files:  map[string][]byte{"configs/.indexignore": nil},
	}
	switch kind {
	case withHidden:
		i.Files[hiddenFile] = r.emptyDatabase()
	case sqliteKind:
		delete(i.Labels, configsLabel)
		i.Labels[databaseLabel] = "/database/index.db"
		i.Files = map[string][]byte{"database/index.db": r.emptyDatabase()}
	}
	return r.push(name, i)
}

func (r *releases) emptyDatabase() []byte {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "index.db")
	db, err := catalog.CreateDatabase(context.Background(), path)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		r.t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// submit posts a request, waits for its end, and demands that it is complete.
func (r *releases) submit(requestType string, body map[string]any) map[string]any {
	r.t.Helper()
	build := r.attempt(requestType, body)
	if build["state"] != "complete" {
		_, log := r.get(fmt.Sprintf("/api/v1/builds/%v/logs", build["id"]))
		r.t.Fatalf("%s: %v\n%s", requestType, build["state_reason"], log)
	}
	return build
}

// attempt posts a request and waits for its end.
func (r *releases) attempt(requestType string, body map[string]any) map[string]any {
	r.t.Helper()
	if _, ok := body["binary_image"]; !ok {
		body = maps.Clone(body)
		body["binary_image"] = r.base
	}
	status, answer := r.post("/api/v1/builds/"+requestType, body)
	if status != http.StatusCreated {
		r.t.Fatalf("%s: %d %v", requestType, status, answer)
	}
	return r.wait(answer["id"])
}

// contents reads an index image back: its bundles by package.
func (r *releases) contents(spec string) map[string][]string {
	r.t.Helper()
	ctx := context.Background()
	info, err := r.pusher.Client.Inspect(ctx, spec, "s390x")
	if err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	found := make(map[string][]string)
	if path := info.Labels[databaseLabel]; path != "" && info.Labels[configsLabel] == "" {
		for _, ref := range r.database(spec, path) {
			found[ref.Package] = append(found[ref.Package], ref.Name)
		}
		return found
	}
	if err := r.pusher.Client.ExtractDirs(ctx, spec, "s390x", dir, info.Labels[configsLabel]); err != nil {
		r.t.Fatal(err)
	}
	c, err := declcfg.LoadFS(ctx, os.DirFS(filepath.Join(dir, info.Labels[configsLabel])))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := declcfg.ConvertToModel(*c); err != nil {
		r.t.Fatalf("the catalog of %s is not valid: %v", spec, err)
	}
	for _, b := range c.Bundles {
		found[b.Package] = append(found[b.Package], b.Name)
	}
	for _, names := range found {
		slices.Sort(names)
	}
	return found
}

// database reads a database of an index image.
func (r *releases) database(spec, path string) []catalog.BundleRef {
	r.t.Helper()
	ctx := context.Background()
	dir := r.t.TempDir()
	if err := r.pusher.Client.ExtractDirs(ctx, spec, "s390x", dir, path); err != nil {
		r.t.Fatal(err)
	}
	db, err := catalog.OpenDatabase(ctx, filepath.Join(dir, path))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	refs, err := db.Bundles(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return refs
}

func names(bundles ...[]catalogtest.Bundle) map[string][]string {
	found := make(map[string][]string)
	for _, list := range bundles {
		for _, b := range list {
			found[b.Package] = append(found[b.Package], b.Name)
		}
	}
	for _, list := range found {
		slices.Sort(list)
	}
	return found
}

func TestAddAndRemove(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	oneSpecs, one := r.bundles(1, 3)
	twoSpecs, two := r.bundles(2, 2)
	for _, kind := range []indexKind{fileBased, withHidden, sqliteKind} {
		for _, oci := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, OCI %v", kind, oci), func(t *testing.T) {
				index := r.emptyIndex(fmt.Sprintf("index-%s-%v:v4.14", strings.ReplaceAll(strings.ToLower(string(kind)), " ", "-"), oci), kind, oci)
				first := r.submit("add", map[string]any{"bundles": oneSpecs, "from_index": index})
				if diff := cmp.Diff(names(one), r.contents(first["index_image"].(string))); diff != "" {
					t.Fatal(diff)
				}
				second := r.submit("add", map[string]any{"bundles": twoSpecs, "from_index": first["index_image_resolved"]})
				image := second["index_image"].(string)
				if diff := cmp.Diff(names(one, two), r.contents(image)); diff != "" {
					t.Fatal(diff)
				}
				if kind == withHidden {
					if got := len(r.database(image, "/"+hiddenFile)); got != len(one)+len(two) {
						t.Errorf("the hidden database has %d bundles", got)
					}
				}
				third := r.submit("rm", map[string]any{"operators": []string{one[0].Package}, "from_index": image, "build_tags": []string{"v4.14-" + strings.ReplaceAll(string(kind), " ", "-")}})
				if diff := cmp.Diff(names(two), r.contents(third["index_image"].(string))); diff != "" {
					t.Fatal(diff)
				}
				if !strings.Contains(fmt.Sprint(third["arches"]), "amd64 arm64 ppc64le s390x") {
					t.Errorf("arches %v", third["arches"])
				}
			})
		}
	}
}

func TestEqualInputsMakeAnEqualImage(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	index := r.emptyIndex("index:v4.14", withHidden, false)
	specs, _ := r.bundles(1, 2)
	one := r.submit("add", map[string]any{"bundles": specs, "from_index": index})
	two := r.submit("add", map[string]any{"bundles": specs, "from_index": index})
	_, first, _ := strings.Cut(one["index_image_resolved"].(string), "@")
	_, second, _ := strings.Cut(two["index_image_resolved"].(string), "@")
	if first != second {
		t.Errorf("the same request made %s and %s", first, second)
	}
}
