package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// packageText is the catalog of a package with one bundle, as an owner writes it.
func packageText(name string) string {
	return fmt.Sprintf(`{"schema":"olm.package","name":%[1]q,"defaultChannel":"stable"}
{"schema":"olm.channel","package":%[1]q,"name":"stable","entries":[{"name":"%[1]s.v1.0.0"}]}
{"schema":"olm.bundle","package":%[1]q,"name":"%[1]s.v1.0.0","image":"q.io/none/bundle@sha256:%064[2]d","properties":[{"type":"olm.package","value":{"packageName":%[1]q,"version":"1.0.0"}}]}
`, name, 1)
}

func TestBadInputOfIndexRequests(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	fragment := func(name string, files map[string]string) string {
		content := make(map[string][]byte)
		for path, text := range files {
			content["configs/"+path] = []byte(text)
		}
		return r.push("fragment-"+name+":v1", imagetest.Image{Files: content})
	}
	indexWith := func(name string, labels map[string]string, files map[string][]byte) string {
		return r.push("index-"+name+":v4.14", imagetest.Image{Arches: imagetest.Arches, Labels: labels, Files: files})
	}
	configs := map[string]string{configsLabel: "/configs"}
	index := indexWith("good", configs, map[string][]byte{"configs/known/catalog.json": []byte(packageText("known"))})
	sqlite := r.emptyIndex("sqlite:v4.14", sqliteKind, false)
	bundle := catalogtest.Operator(11, 1, 1)[0]
	good := r.push("good:v1", imagetest.Image{Labels: bundle.Labels(), Files: bundle.Files()})
	escaping := bundle
	escaping.Package = "../../etc"
	escapes := r.push("escapes:v1", imagetest.Image{Labels: escaping.Labels(), Files: edited(bundle.Files(), func(name, data string) string {
		if name == "metadata/annotations.yaml" {
			return strings.ReplaceAll(data, bundle.Package, escaping.Package)
		}
		return data
	})})
	corrupt := []byte("SQLite format 3\x00 and then nothing")
	one, two := fragment("one", map[string]string{"twice/catalog.json": packageText("twice")}), fragment("two", map[string]string{"twice/other.json": packageText("twice")})

	deprecations := func(pkg, schema string) map[string]any {
		return map[string]any{"operator_package": pkg, "deprecation_schema": schema, "from_index": index}
	}
	fragments := func(specs ...string) map[string]any {
		return map[string]any{"fbc_fragments": specs, "from_index": index}
	}
	add := func(index string) map[string]any {
		return map[string]any{"bundles": []string{good}, "from_index": index}
	}
	r.refuses(t, []fault{
		{"several unknown operators of a SQLite index are all named", "rm", map[string]any{"operators": []string{"ghost", "spirit"}, "from_index": sqlite}, []string{"ghost, spirit"}},
		{"fragments in a SQLite index", "fbc-operations", map[string]any{"fbc_fragments": []string{one}, "from_index": sqlite}, []string{sqlite, "SQLite"}},
		{"deprecations in a SQLite index", "add-deprecations", map[string]any{"operator_package": "known", "deprecation_schema": "{}", "from_index": sqlite}, []string{sqlite, "SQLite"}},
		{"a file-based source for a SQLite target", "merge-index-image", map[string]any{"source_from_index": index, "target_index": sqlite}, []string{index, sqlite, "file-based"}},
		{"a fragment without packages", "fbc-operations", fragments(fragment("empty", map[string]string{".indexignore": ""})), []string{"fragment-empty", "no packages"}},
		{"a fragment with a stray file beside its package", "fbc-operations", fragments(fragment("stray", map[string]string{
			"fine/catalog.json": packageText("fine"), "notes.txt": "hello"})), []string{"fragment-stray", "notes.txt"}},
		{"a fragment whose directory is not named for its package", "fbc-operations", fragments(fragment("misnamed", map[string]string{
			"other/catalog.json": packageText("fine")})), []string{"fragment-misnamed", "/configs/other", "fine"}},
		{"a fragment whose package is a path", "fbc-operations", fragments(fragment("path", map[string]string{
			"x/catalog.json": packageText("../x")})), []string{"fragment-path", "../x"}},
		{"a fragment that is no catalog", "fbc-operations", fragments(fragment("broken", map[string]string{
			"fine/catalog.json": `{"schema":`})), []string{"fragment-broken", "fine/catalog.json"}},
		{"a fragment that opm would not serve", "fbc-operations", fragments(fragment("dangling", map[string]string{
			"fine/catalog.json": strings.Replace(packageText("fine"), `[{"name":"fine.v1.0.0"}]`, `[{"name":"fine.v2.0.0"}]`, 1)})), []string{"fragment-dangling", "package fine", "fine.v1.0.0"}},
		{"two fragments with the same package", "fbc-operations", fragments(one, two), []string{one, two, "twice"}},
		{"deprecations of something else than they say", "add-deprecations", deprecations("known", `{"schema":"olm.deprecations","package":"ghost","entries":[]}`), []string{"known", "ghost"}},
		{"deprecations of a bundle that is not there", "add-deprecations", deprecations("known",
			`{"schema":"olm.deprecations","package":"known","entries":[{"reference":{"schema":"olm.bundle","name":"known.v7"},"message":"old"}]}`), []string{"known.v7"}},
		{"deprecations that are of another schema", "add-deprecations", deprecations("known", `{"schema":"olm.package","name":"known"}`), []string{"olm.deprecations"}},
		{"deprecations of a package whose name is a path", "add-deprecations", deprecations("../known", `{"schema":"olm.deprecations","package":"../known","entries":[]}`), []string{"../known"}},
		{"a label that names a database that is not there", "rm", map[string]any{"operators": []string{"known"},
			"from_index": indexWith("no-database", map[string]string{databaseLabel: "/database/index.db"}, map[string][]byte{"etc/motd": nil})}, []string{"index-no-database", "/database/index.db", "does not have"}},
		{"a label that names a catalog that is none", "add", add(indexWith("no-catalog", configs, map[string][]byte{"configs/a/catalog.json": []byte("hello: [")})), []string{"index-no-catalog", "a/catalog.json"}},
		{"a label that names a file as the catalog", "add", add(indexWith("file", configs, map[string][]byte{"configs": []byte("{}")})), []string{"index-file", "/configs", "no directory"}},
		{"a label that leads out of the image", "add", add(indexWith("outside", map[string]string{configsLabel: strings.Repeat("../", 20) + "etc"},
			map[string][]byte{"etc/mine/catalog.json": []byte("hello: [")})), []string{"index-outside", "leads out of the image"}},
		{"a label with an unknown scope", "add", add(indexWith("scope", map[string]string{configsLabel: "/configs", scopeLabel: "global"}, map[string][]byte{"configs/.indexignore": nil})), []string{"index-scope", "global"}},
		{"a database that is none", "rm", map[string]any{"operators": []string{"known"},
			"from_index": indexWith("text-database", map[string]string{databaseLabel: "/database/index.db"}, map[string][]byte{"database/index.db": []byte("hello")})}, []string{"index-text-database", "not a SQLite database"}},
		{"a corrupt database as a source", "merge-index-image", map[string]any{"target_index": index,
			"source_from_index": indexWith("corrupt", map[string]string{databaseLabel: "/database/index.db"}, map[string][]byte{"database/index.db": corrupt})}, []string{"index-corrupt"}},
		{"a corrupt hidden database", "rm", map[string]any{"operators": []string{"known"},
			"from_index": indexWith("corrupt-hidden", configs, map[string][]byte{"configs/.indexignore": nil, hiddenFile: corrupt})}, []string{"index-corrupt-hidden"}},
		{"a bundle whose package is a path", "add", map[string]any{"bundles": []string{escapes}, "from_index": index}, []string{"../../etc"}},
		{"a bundle whose package is a path, for a SQLite index", "add", map[string]any{"bundles": []string{escapes}, "from_index": sqlite}, []string{"../../etc"}},
		{"a scope wider than the target's", "merge-index-image", map[string]any{"source_from_index": index, "distribution_scope": "prod",
			"target_index": indexWith("stage", map[string]string{configsLabel: "/configs", scopeLabel: "stage"}, map[string][]byte{"configs/.indexignore": nil})}, []string{"prod", "stage"}},
		{"an added architecture that the binary image lacks", "fbc-operations", map[string]any{"fbc_fragments": []string{one}, "from_index": index, "add_arches": []string{"riscv64"}}, []string{"riscv64 (from add_arches)", r.base}},
	})
}

func TestUnknownOperatorsOfAFileBasedIndexAreReported(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	specs, list := r.bundles(1, 1)
	for _, kind := range []indexKind{fileBased, withHidden} {
		t.Run(string(kind), func(t *testing.T) {
			index := r.filled("unknown-"+mergeNames(kind)+":v4.14", kind, specs...)
			build := r.submit("rm", map[string]any{"operators": []string{"ghost", list[0].Package, "spirit"}, "from_index": index})
			if reason := fmt.Sprint(build["state_reason"]); !strings.Contains(reason, "Not in the index were: ghost, spirit.") {
				t.Errorf("reason %q", reason)
			}
			if diff := cmp.Diff(map[string][]string{}, r.contents(build["index_image"].(string))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
