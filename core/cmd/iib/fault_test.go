package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// edited is a bundle's files with one of them changed.
func edited(files map[string][]byte, change func(name string, data string) string) map[string][]byte {
	out := maps.Clone(files)
	for name, data := range files {
		if changed := change(name, string(data)); changed != "" {
			out[name] = []byte(changed)
		} else {
			delete(out, name)
		}
	}
	return out
}

// fault is a request that must fail with a reason that has certain words.
type fault struct {
	name, requestType string
	body              map[string]any
	says              []string
}

// refuses runs requests that must fail. Each overwrites its index, if its type
// can, and that must still be what it was.
func (r *releases) refuses(t *testing.T, faults []fault) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			body := maps.Clone(f.body)
			index, overwrite := "from_index", "overwrite_from_index"
			switch f.requestType {
			case "create-empty-index":
				overwrite = ""
			case "merge-index-image":
				index, overwrite = "target_index", "overwrite_target_index"
				body["overwrite_target_index_token"] = "robot:secret"
			}
			if overwrite != "" {
				body[overwrite] = true
			}
			spec, _ := body[index].(string)
			before, _ := r.pusher.Client.Digest(t.Context(), spec)
			build := r.attempt(f.requestType, body)
			reason, _ := build["state_reason"].(string)
			if build["state"] != "failed" {
				t.Fatalf("the request is %v: %s", build["state"], reason)
			}
			for _, word := range f.says {
				if !strings.Contains(reason, word) {
					t.Errorf("%q does not tell %q", reason, word)
				}
			}
			if strings.Contains(reason, "Attempt") {
				t.Errorf("a final fault was retried: %q", reason)
			}
			if build["index_image"] != nil {
				t.Errorf("published %v", build["index_image"])
			}
			if after, _ := r.pusher.Client.Digest(t.Context(), spec); after != before {
				t.Errorf("%s was %s and is %s", spec, before, after)
			}
		})
	}
}

func TestFaultsAreToldInASentence(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	index := r.emptyIndex("index:v4.14", fileBased, false)
	sqlite := r.emptyIndex("sqlite:v4.14", sqliteKind, false)
	good := catalogtest.Operator(11, 1, 2)
	push := func(name string, files map[string][]byte, labels map[string]string) string {
		return r.push(name, imagetest.Image{Files: files, Labels: labels})
	}
	one := good[0]
	isCSV := func(name string) bool { return strings.HasSuffix(name, ".clusterserviceversion.yaml") }
	notThere := r.registry() + "/release/nothing:v1"
	noBundle := push("plain:v1", map[string][]byte{"etc/motd": []byte("hello")}, nil)
	noAnnotation := push("no-annotation:v1", edited(one.Files(), func(name, data string) string {
		if name == "metadata/annotations.yaml" {
			return "annotations: {}\n"
		}
		return data
	}), one.Labels())
	notYAML := push("not-yaml:v1", edited(one.Files(), func(name, data string) string {
		if isCSV(name) {
			return "kind: ClusterServiceVersion\n\tbroken: [\n"
		}
		return data
	}), one.Labels())
	noCSV := push("no-csv:v1", edited(one.Files(), func(name, data string) string {
		if isCSV(name) {
			return ""
		}
		return data
	}), one.Labels())
	nowhere := good[1]
	nowhere.Replaces = "ghost.v0.0.1"
	danglingSpec := push("dangling:v1", nowhere.Files(), nowhere.Labels())
	itself := one
	itself.SubstitutesFor = itself.Name
	cyclic := push("cyclic:v1", itself.Files(), itself.Labels())
	narrow := r.push("narrow:v1", imagetest.Image{Arches: []string{"amd64"}, Files: map[string][]byte{"bin/opm": []byte("opm")}})
	fine := push("fine:v1", one.Files(), one.Labels())

	r.refuses(t, []fault{
		{"a bundle that does not exist", "add", map[string]any{"bundles": []string{notThere}, "from_index": index}, []string{notThere, "not found"}},
		{"two bundles that do not exist are both named", "add", map[string]any{"bundles": []string{notThere, notThere + "2"}, "from_index": index}, []string{notThere, notThere + "2"}},
		{"an index that does not exist", "add", map[string]any{"bundles": []string{fine}, "from_index": notThere}, []string{notThere, "not found"}},
		{"a registry without an address", "add", map[string]any{"bundles": []string{"registry.invalid/a/b:1"}, "from_index": index}, []string{"registry.invalid"}},
		{"an image that is no bundle", "add", map[string]any{"bundles": []string{noBundle}, "from_index": index}, []string{noBundle, "no bundle", "manifests"}},
		{"an image that is no index", "add", map[string]any{"bundles": []string{fine}, "from_index": noBundle}, []string{noBundle, "no index"}},
		{"a bundle without the package annotation", "add", map[string]any{"bundles": []string{noAnnotation}, "from_index": index}, []string{"no-annotation", "annotation"}},
		{"a CSV that is not YAML", "add", map[string]any{"bundles": []string{notYAML}, "from_index": index}, []string{"not-yaml", "YAML"}},
		{"a bundle without a CSV", "add", map[string]any{"bundles": []string{noCSV}, "from_index": index}, []string{"no-csv", "ClusterServiceVersion"}},
		{"a replaces that points nowhere", "add", map[string]any{"bundles": []string{danglingSpec}, "from_index": index}, []string{"ghost.v0.0.1"}},
		{"a bundle that substitutes for itself", "add", map[string]any{"bundles": []string{cyclic}, "from_index": index}, []string{itself.Name, "itself"}},
		{"an architecture that the binary image lacks", "add", map[string]any{"bundles": []string{fine}, "from_index": index, "binary_image": narrow}, []string{"arm64", narrow}},
		{"a scope wider than the index's", "add", map[string]any{"bundles": []string{fine}, "from_index": r.push("stage:v1", imagetest.Image{
			Arches: imagetest.Arches, Files: map[string][]byte{"configs/.indexignore": nil},
			Labels: map[string]string{configsLabel: "/configs", scopeLabel: "stage"}}), "distribution_scope": "prod"}, []string{"prod", "stage"}},
		{"an index whose label lies", "add", map[string]any{"bundles": []string{fine}, "from_index": r.push("liar:v1", imagetest.Image{
			Arches: imagetest.Arches, Files: map[string][]byte{"etc/motd": nil}, Labels: map[string]string{configsLabel: "/configs"}})}, []string{"/configs", "does not have"}},
		{"a corrupt database", "add", map[string]any{"bundles": []string{fine}, "from_index": r.push("corrupt:v1", imagetest.Image{
			Arches: imagetest.Arches, Files: map[string][]byte{"database/index.db": []byte("SQLite format 3\x00 and then nothing")}, Labels: map[string]string{databaseLabel: "/database/index.db"}})}, []string{"corrupt:v1"}},
		{"an unknown operator of a SQLite index", "rm", map[string]any{"operators": []string{"ghost"}, "from_index": sqlite}, []string{"ghost"}},
		{"an operator whose name is a path", "rm", map[string]any{"operators": []string{"../../etc"}, "from_index": index}, []string{"../../etc"}},
		{"a fragment for a SQLite index", "fbc-operations", map[string]any{"fbc_fragments": []string{fine}, "from_index": sqlite}, nil},
		{"an image that is no fragment", "fbc-operations", map[string]any{"fbc_fragments": []string{noBundle}, "from_index": index}, []string{noBundle, "no fragment"}},
		{"a fragment with a stray file", "fbc-operations", map[string]any{"fbc_fragments": []string{r.push("stray:v1", imagetest.Image{Files: map[string][]byte{
			"configs/README.json": []byte(`{"schema":"olm.package","name":"stray"}`)}})}, "from_index": index}, []string{"README.json"}},
		{"deprecations of an unknown package", "add-deprecations", map[string]any{"operator_package": "ghost", "from_index": index,
			"deprecation_schema": `{"schema":"olm.deprecations","package":"ghost","entries":[]}`}, []string{"ghost"}},
		{"a SQLite copy of a file-based index", "create-empty-index", map[string]any{"from_index": index}, []string{"output_fbc"}},
	})
	t.Run("nothing was published", func(t *testing.T) {
		tags, err := r.pusher.Client.Tags(context.Background(), fmt.Sprintf("%s/iib-build:1", r.registry()))
		if err == nil && len(tags) > 0 {
			t.Errorf("the build repository has the tags %v", tags)
		}
	})
}

func TestOtherIndexRequests(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	specs, list := r.bundles(1, 2)
	other := catalogtest.Operator(11, 2, 2)
	for _, kind := range []indexKind{fileBased, withHidden} {
		t.Run(string(kind), func(t *testing.T) {
			name := strings.ReplaceAll(strings.ToLower(string(kind)), " ", "-")
			index := r.submit("add", map[string]any{"bundles": specs, "from_index": r.emptyIndex(name+":v4.14", kind, false)})["index_image"].(string)
			pkg := list[0].Package
			schema := fmt.Sprintf(`{"schema":"olm.deprecations","package":%q,"entries":[{"reference":{"schema":"olm.package"},"message":"use another"}]}`, pkg)
			deprecated := r.submit("add-deprecations", map[string]any{"operator_package": pkg, "deprecation_schema": schema, "from_index": index})
			if _, text := r.get(fmt.Sprintf("/api/v1/builds/%v/deprecation-schema", deprecated["id"])); string(text) != schema {
				t.Errorf("the schema is served as %s", text)
			}
			image := deprecated["index_image"].(string)
			if got := r.contents(image); len(got[pkg]) != 2 {
				t.Errorf("after the deprecation: %v", got)
			}

			otherIndex := r.emptyIndex(name+"-other:v4.14", fileBased, false)
			var otherSpecs []string
			for _, b := range other {
				otherSpecs = append(otherSpecs, r.push(b.Package+":v"+b.Version, imagetest.Image{Labels: b.Labels(), Files: b.Files()}))
			}
			fragment := r.submit("add", map[string]any{"bundles": otherSpecs, "from_index": otherIndex})["index_image"].(string)
			both := r.submit("fbc-operations", map[string]any{"fbc_fragments": []string{fragment}, "from_index": image})
			if got := r.contents(both["index_image"].(string)); len(got) != 2 {
				t.Errorf("after the fragment: %v", got)
			}

			empty := r.submit("create-empty-index", map[string]any{"from_index": both["index_image"], "output_fbc": true, "labels": map[string]string{"maker": "test"}})
			if got := r.contents(empty["index_image"].(string)); len(got) != 0 {
				t.Errorf("the empty index has %v", got)
			}
			info, err := r.pusher.Client.Inspect(context.Background(), empty["index_image"].(string), "amd64")
			if err != nil || info.Labels["maker"] != "test" {
				t.Errorf("%v, labels %v", err, info.Labels)
			}
		})
	}
}
