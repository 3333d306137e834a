package catalog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// after returns an ant bundle that replaces another version.
func after(version, replaces string) catalogtest.Bundle {
	b := ant(version)
	b.Replaces = "ant.v" + replaces
	return b
}

// ants makes a package of bundles, in one request each.
func ants(t *testing.T, specs ...catalogtest.Bundle) *catalog.Package {
	t.Helper()
	var p *catalog.Package
	for _, spec := range specs {
		var err error
		if p, err = catalog.Add(p, []*catalog.Bundle{read(t, spec)}, catalog.AddOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func find(t *testing.T, p *catalog.Package, schema, name string) catalog.Blob {
	t.Helper()
	for _, b := range p.Blobs {
		if b.Schema == schema && b.Name == name {
			return b
		}
	}
	t.Fatalf("package %s has no %s %q", p.Name, schema, name)
	return catalog.Blob{}
}

func TestRefusedAddSaysWhatToDo(t *testing.T) {
	line := []catalogtest.Bundle{ant("1.0.0"), after("1.1.0", "1.0.0")}
	with := func(b catalogtest.Bundle, change func(*catalogtest.Bundle)) catalogtest.Bundle {
		change(&b)
		return b
	}
	tests := []struct {
		name string
		add  []catalogtest.Bundle
		opts catalog.AddOptions
		want string
	}{
		{"the same bundle", line[1:], catalog.AddOptions{}, "is already in package ant, as ant.v1.1.0"},
		{"the same name", []catalogtest.Bundle{with(line[1], func(b *catalogtest.Bundle) { b.Seed = 1 })}, catalog.AddOptions{},
			"bundle ant.v1.1.0 is already in package ant, with the pull spec"},
		{"overwriting below the head", []catalogtest.Bundle{with(line[0], func(b *catalogtest.Bundle) { b.Seed = 1 })}, catalog.AddOptions{OverwriteLatest: true},
			"cannot be overwritten: it is not the head of channel stable, where ant.v1.1.0 replaces it"},
		{"replaces that points nowhere", []catalogtest.Bundle{after("1.2.0", "9.9.9")}, catalog.AddOptions{},
			"bundle ant.v1.2.0 replaces ant.v9.9.9, which is not in package ant; add ant.v9.9.9 before it or in the same request"},
		{"a circle of replaces", []catalogtest.Bundle{after("1.2.0", "1.3.0"), after("1.3.0", "1.2.0")}, catalog.AddOptions{},
			"channel stable of package ant would be a circle"},
		{"substitutes in a circle", []catalogtest.Bundle{
			with(after("1.2.0", "1.1.0"), func(b *catalogtest.Bundle) { b.SubstitutesFor = "ant.v1.3.0" }),
			with(after("1.3.0", "1.1.0"), func(b *catalogtest.Bundle) { b.SubstitutesFor = "ant.v1.2.0" }),
		}, catalog.AddOptions{}, "leads to itself through"},
		{"a bundle below the head", []catalogtest.Bundle{after("1.0.5", "1.0.0")}, catalog.AddOptions{},
			"nobody could upgrade to it, because the head ant.v1.1.0 has a higher version"},
		{"the highest version twice", []catalogtest.Bundle{with(after("1.1.0", "1.0.0"), func(b *catalogtest.Bundle) { b.Name = "ant.other" })}, catalog.AddOptions{},
			"package ant would have more than one bundle with its highest version, 1.1.0"},
		{"a default channel that is not there", []catalogtest.Bundle{with(after("1.2.0", "1.1.0"), func(b *catalogtest.Bundle) { b.DefaultChannel = "fast" })}, catalog.AddOptions{},
			"the default channel of package ant would be fast, in which there is no bundle"},
		{"a version that is there, in a semver mode", []catalogtest.Bundle{with(ant("1.1.0"), func(b *catalogtest.Bundle) { b.Name = "ant.other" })}, catalog.AddOptions{Mode: catalog.Semver},
			"ant.v1.1.0 has the version 1.1.0 already"},
		{"an unknown mode", []catalogtest.Bundle{after("1.2.0", "1.1.0")}, catalog.AddOptions{Mode: "newest"}, `there is no graph update mode "newest"; use replaces, semver or semver-skippatch`},
		{"a name of another package", []catalogtest.Bundle{after("1.2.0", "1.1.0")}, catalog.AddOptions{Owner: func(name string) (string, bool) {
			return "bee", name == "ant.v1.1.0"
		}}, "refers to the bundle ant.v1.1.0, which belongs to package bee"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := ants(t, line...)
			before := slices.Clone(p.Blobs)
			var bundles []*catalog.Bundle
			for _, spec := range tt.add {
				bundles = append(bundles, read(t, spec))
			}
			groups, err := catalog.Group(bundles)
			if err != nil {
				t.Fatal(err)
			}
			_, err = catalog.Add(p, groups[0], tt.opts)
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant: %s", err, tt.want)
			}
			if d := cmp.Diff(before, p.Blobs); d != "" {
				t.Errorf("a refused add changed the package: %s", d)
			}
		})
	}
}

func TestRequestIsCheckedAsAWhole(t *testing.T) {
	twin := ant("1.0.0")
	twin.Seed = 1
	stranger := catalogtest.Bundle{Package: "bee", Name: "bee.v1.0.0", Version: "1.0.0", Channels: []string{"stable"}, Replaces: "ant.v1.0.0"}
	tests := []struct {
		name string
		add  []catalogtest.Bundle
		want string
	}{
		{"one name twice", []catalogtest.Bundle{ant("1.0.0"), twin}, "are both named ant.v1.0.0"},
		{"one bundle twice", []catalogtest.Bundle{ant("1.0.0"), ant("1.0.0")}, "are both named"},
		{"an edge between packages", []catalogtest.Bundle{ant("1.0.0"), stranger}, "the packages ant and bee both refer to the bundle ant.v1.0.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var bundles []*catalog.Bundle
			for _, spec := range tt.add {
				bundles = append(bundles, read(t, spec))
			}
			_, err := catalog.Group(bundles)
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant: %s", err, tt.want)
			}
		})
	}
}

func TestOrderOfTheRequestDoesNotMatter(t *testing.T) {
	specs := []catalogtest.Bundle{ant("1.0.0"), after("1.0.1", "1.0.0"), after("1.1.0", "1.0.1"), after("1.1.1", "1.1.0")}
	var want []catalog.Blob
	for _, mode := range []catalog.Mode{catalog.Replaces, catalog.Semver} {
		want = nil
		for range 10 {
			var bundles []*catalog.Bundle
			for _, i := range rand.Perm(len(specs)) {
				bundles = append(bundles, read(t, specs[i]))
			}
			groups, err := catalog.Group(bundles)
			if err != nil {
				t.Fatal(err)
			}
			p, err := catalog.Add(nil, groups[0], catalog.AddOptions{Mode: mode})
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = p.Blobs
			}
			if d := cmp.Diff(want, p.Blobs); d != "" {
				t.Fatalf("mode %s: %s", mode, d)
			}
		}
	}
}

// foreignise rewrites blobs as somebody else may have written them: with keys
// in another order, unknown keys, numbers in unusual forms, and without line
// breaks.
func foreignise(t *testing.T, p *catalog.Package) *catalog.Package {
	t.Helper()
	out := &catalog.Package{Name: p.Name}
	for i, b := range p.Blobs {
		var content map[string]json.RawMessage
		if err := json.Unmarshal(b.JSON, &content); err != nil {
			t.Fatal(err)
		}
		var doc bytes.Buffer
		fmt.Fprintf(&doc, `{"x-%d": {"number": 1.50e2, "list":[ ]}`, i)
		var keys []string
		for key := range content {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		slices.Reverse(keys)
		for _, key := range keys {
			fmt.Fprintf(&doc, ` ,"%s":%s`, key, content[key])
		}
		doc.WriteString("}")
		b.JSON = doc.Bytes()
		out.Blobs = append(out.Blobs, b)
	}
	out.Blobs = append(out.Blobs,
		catalog.Blob{Schema: "example.com/notes", Package: p.Name, JSON: json.RawMessage(`{"schema":"example.com/notes","package":"ant","big":12345678901234567890,"z":1,"a":2}`)},
		catalog.Blob{Schema: "olm.deprecations", Package: p.Name, JSON: json.RawMessage(`{"schema":"olm.deprecations","package":"ant","entries":[` +
			`{"reference":{"schema":"olm.bundle","name":"ant.v1.0.0"},"message":"old"},{"reference":{"schema":"olm.channel","name":"stable"},"message":"x","since":1.0}]}`)})
	return out
}

func TestWhatAnEditDoesNotTouchStaysByteForByte(t *testing.T) {
	p := foreignise(t, ants(t, ant("1.0.0"), after("1.1.0", "1.0.0"), after("1.2.0", "1.1.0")))
	now, err := catalog.Add(p, []*catalog.Bundle{read(t, after("1.3.0", "1.2.0"))}, catalog.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, b := range now.Blobs {
		kept[string(b.JSON)] = true
	}
	for _, b := range p.Blobs {
		if b.Schema == "olm.channel" || b.Schema == "olm.package" {
			continue // one has a new entry, the other the icon of the new head
		}
		if !kept[string(b.JSON)] {
			t.Errorf("%s %s did not keep its bytes", b.Schema, b.Name)
		}
	}
	channel := string(find(t, now, "olm.channel", "stable").JSON)
	if !strings.Contains(channel, "1.50e2") || !strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(channel, "{")), `"x-1"`) {
		t.Errorf("the channel lost what it does not know: %s", channel)
	}
	if pkg := string(find(t, now, "olm.package", "ant").JSON); !strings.Contains(pkg, `"x-0"`) || !strings.Contains(pkg, "1.50e2") {
		t.Errorf("the package lost what it does not know: %s", pkg)
	}
}

func TestDeprecationCutsTheGraphOff(t *testing.T) {
	line := []catalogtest.Bundle{ant("1.0.0"), after("1.1.0", "1.0.0"), after("1.2.0", "1.1.0")}
	images := func(versions ...string) (all []string) {
		for _, b := range line {
			if slices.Contains(versions, b.Version) {
				all = append(all, b.Image("registry.example.com/ns"))
			}
		}
		return all
	}
	t.Run("below a bundle in the middle", func(t *testing.T) {
		p, err := catalog.Deprecate(foreignise(t, ants(t, line...)), images("1.1.0"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := p.Config()
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Bundles) != 1 || cfg.Bundles[0].Name != "ant.v1.2.0" || cfg.Channels[0].Entries[0].Replaces != "ant.v1.1.0" {
			t.Errorf("bundles %v, entries %v", cfg.Bundles, cfg.Channels[0].Entries)
		}
		if len(cfg.Deprecations) != 1 || len(cfg.Deprecations[0].Entries) != 1 {
			t.Errorf("the deprecation of a bundle that is gone was kept: %v", cfg.Deprecations)
		}
		// The graph can grow on top of the cut.
		if _, err := catalog.Add(p, []*catalog.Bundle{read(t, after("1.3.0", "1.2.0"))}, catalog.AddOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("the head of the only channel", func(t *testing.T) {
		p, err := catalog.Deprecate(ants(t, line...), images("1.2.0"))
		if err != nil || !p.Empty() {
			t.Errorf("%v, %v", p, err)
		}
	})
	t.Run("the head of the default channel and not of the other", func(t *testing.T) {
		two := slices.Clone(line)
		two[1].Channels = []string{"stable", "beta"}
		p := ants(t, two[0], two[1], two[2])
		_, err := catalog.Deprecate(p, []string{two[2].Image("registry.example.com/ns")})
		if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "list the heads of all its channels; that of beta is missing") {
			t.Error(err)
		}
	})
	t.Run("a bundle that is not there", func(t *testing.T) {
		_, err := catalog.Deprecate(ants(t, line...), []string{"registry.example.com/ns/x@sha256:00"})
		if sdk.CodeOf(err) != sdk.NotFound {
			t.Error(err)
		}
	})
}

func TestPackageWrittenByHandKeepsItsEdges(t *testing.T) {
	// In fast, 1.2.0 replaces 1.0.0 directly; in stable it does not; and what
	// is skipped has edges of its own. No database could express that.
	p := ants(t, ant("1.0.0"), after("1.1.0", "1.0.0"), after("1.2.0", "1.1.0"))
	for i, b := range p.Blobs {
		if b.Schema == "olm.channel" {
			p.Blobs[i].JSON = json.RawMessage(`{"schema":"olm.channel","package":"ant","name":"stable","entries":[
				{"name":"ant.v1.0.0"},{"name":"ant.v1.1.0","replaces":"ant.v1.0.0","skipRange":"<1.0.0"},
				{"name":"ant.v1.2.0","replaces":"ant.v1.0.0","skips":["ant.v1.1.0"]}]}`)
		}
	}
	p.Blobs = append(p.Blobs, catalog.Blob{Schema: "olm.channel", Package: "ant", Name: "fast", JSON: json.RawMessage(
		`{"schema":"olm.channel","package":"ant","name":"fast","entries":[{"name":"ant.v1.2.0","replaces":"ant.v1.1.0"},{"name":"ant.v1.1.0","replaces":"ant.v0.1.0"}]}`)})
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	spec := after("1.3.0", "1.2.0")
	spec.Channels = []string{"stable", "fast"}
	now, err := catalog.Add(p, []*catalog.Bundle{read(t, spec)}, catalog.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Diff(p, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []catalog.Edge{{Channel: "fast", Bundle: "ant.v1.3.0", Kind: "replaces", To: "ant.v1.2.0"}, {Channel: "stable", Bundle: "ant.v1.3.0", Kind: "replaces", To: "ant.v1.2.0"}}
	if d := cmp.Diff(want, c.EdgesAdded); d != "" {
		t.Errorf("edges added: %s", d)
	}
	if len(c.EdgesRemoved) > 0 || len(c.BundlesRemoved) > 0 || len(c.BundlesChanged) > 0 {
		t.Errorf("the add also changed: %+v", c)
	}
}

func TestInvalidPackageIsNotEdited(t *testing.T) {
	p := ants(t, ant("1.0.0"))
	p.Blobs = slices.DeleteFunc(p.Blobs, func(b catalog.Blob) bool { return b.Schema == "olm.bundle" })
	_, err := catalog.Add(p, []*catalog.Bundle{read(t, after("1.1.0", "1.0.0"))}, catalog.AddOptions{})
	if sdk.CodeOf(err) != sdk.Invalid || !strings.HasPrefix(err.Error(), "package ant: ") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

func TestDiffTellsWhatChanged(t *testing.T) {
	before := ants(t, ant("1.0.0"), after("1.1.0", "1.0.0"))
	spec := after("1.2.0", "1.0.0")
	spec.Skips, spec.SkipRange = []string{"ant.v1.1.0"}, "<1.2.0"
	spec.Channels, spec.DefaultChannel = []string{"stable", "fast"}, "fast"
	added := read(t, spec)
	now, err := catalog.Add(before, []*catalog.Bundle{added}, catalog.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := catalog.Diff(before, now)
	if err != nil {
		t.Fatal(err)
	}
	edge := func(channel, bundle, kind, to string) catalog.Edge {
		return catalog.Edge{Channel: channel, Bundle: bundle, Kind: kind, To: to}
	}
	want := &catalog.Changes{
		Package: "ant", DefaultChannel: &catalog.Change{From: "stable", To: "fast"}, ChannelsAdded: []string{"fast"},
		BundlesAdded: []catalog.BundleRef{{Package: "ant", Name: "ant.v1.2.0", Version: "1.2.0", Image: added.Image}},
		EdgesAdded: []catalog.Edge{
			edge("fast", "ant.v1.2.0", "replaces", "ant.v1.0.0"), edge("fast", "ant.v1.2.0", "skipRange", "<1.2.0"), edge("fast", "ant.v1.2.0", "skips", "ant.v1.1.0"),
			edge("stable", "ant.v1.2.0", "replaces", "ant.v1.0.0"), edge("stable", "ant.v1.2.0", "skipRange", "<1.2.0"), edge("stable", "ant.v1.2.0", "skips", "ant.v1.1.0"),
		},
		EdgesRemoved: []catalog.Edge{edge("stable", "ant.v1.1.0", "replaces", "ant.v1.0.0")},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	same, err := catalog.Diff(now, now)
	if err != nil || !same.Empty() {
		t.Errorf("%+v, %v", same, err)
	}
	gone, err := catalog.Diff(now, nil)
	if err != nil || !gone.Removed || len(gone.BundlesRemoved) != 3 || gone.Empty() {
		t.Errorf("%+v, %v", gone, err)
	}
}

func TestDiffTellsOfDeprecations(t *testing.T) {
	deprecated := func(p *catalog.Package, messages ...string) *catalog.Package {
		t.Helper()
		var entries []string
		for i, m := range messages {
			reference := `{"schema":"olm.package"}`
			if i > 0 {
				reference = `{"schema":"olm.bundle","name":"ant.v1.0.0"}`
			}
			entries = append(entries, fmt.Sprintf(`{"reference":%s,"message":%q}`, reference, m))
		}
		blob, err := catalog.ParseDeprecations("ant", []byte(`{"schema":"olm.deprecations","package":"ant","entries":[`+strings.Join(entries, ",")+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		if p, err = catalog.SetDeprecations(p, blob); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := ants(t, ant("1.0.0"))
	got, err := catalog.Diff(deprecated(p, "old", "kept"), deprecated(p, "new", "kept"))
	want := &catalog.Changes{
		Package:             "ant",
		DeprecationsAdded:   []catalog.Deprecation{{Schema: "olm.package", Message: "new"}},
		DeprecationsRemoved: []catalog.Deprecation{{Schema: "olm.package", Message: "old"}},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil || got.Empty() {
		t.Errorf("%v: %s", err, d)
	}
	got, err = catalog.Diff(deprecated(p, "old", "gone"), p)
	if err != nil || len(got.DeprecationsRemoved) != 2 || got.DeprecationsRemoved[0].Name != "ant.v1.0.0" {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestBundlesAreCappedOnlyIfTheyMust(t *testing.T) {
	beta := after("1.1.0", "1.0.0")
	beta.BetaCRD = true
	told := after("1.2.0", "1.1.0")
	told.BetaCRD, told.MaxOpenShift = true, "4.7"
	var bundles []*catalog.Bundle
	for _, spec := range []catalogtest.Bundle{ant("1.0.0"), beta, told} {
		bundles = append(bundles, read(t, spec))
	}
	p := ants(t, ant("1.0.0"), beta, told)
	now, capped, err := catalog.CapOpenShift(p, bundles)
	if err != nil || !slices.Equal(capped, []string{"ant.v1.1.0"}) {
		t.Fatalf("%v, %v", capped, err)
	}
	if got := bundles[1].RemovedAPIs(); !slices.Equal(got, []string{"CustomResourceDefinition things.ant.example.com"}) {
		t.Error(got)
	}
	cfg, err := now.Config()
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, prop := range cfg.Bundles[1].Properties {
		types = append(types, prop.Type+"="+string(prop.Value[:min(5, len(prop.Value))]))
	}
	if got := strings.Join(types, " "); !strings.Contains(got, "olm.maxOpenShiftVersion=4.8 olm.package") {
		t.Error(got)
	}
	if _, again, err := catalog.CapOpenShift(now, bundles); err != nil || len(again) != 0 {
		t.Errorf("%v, %v", again, err)
	}
}

func TestDeprecationSchemaIsChecked(t *testing.T) {
	p := ants(t, ant("1.0.0"))
	doc := func(pkg, entries string) string {
		return `{"schema":"olm.deprecations","package":"` + pkg + `","entries":[` + entries + `]}`
	}
	tests := []struct{ name, doc, want string }{
		{"not JSON", "schema: olm.deprecations", "is not valid JSON"},
		{"two documents", doc("ant", "") + "{}", "more than one JSON document"},
		{"another schema", `{"schema":"olm.package"}`, "it must be olm.deprecations"},
		{"another package", doc("bee", ""), `for package "bee", the request for package "ant"`},
		{"no message", doc("ant", `{"reference":{"schema":"olm.package"}}`), "entry 1 of the deprecation schema has no message"},
		{"entries of another form", `{"schema":"olm.deprecations","package":"ant","entries":{}}`, "does not have the right form"},
		{"an unknown bundle", doc("ant", `{"reference":{"schema":"olm.bundle","name":"ant.v9"},"message":"x"}`), "bundle not found"},
		{"an unknown channel", doc("ant", `{"reference":{"schema":"olm.channel","name":"x"},"message":"x"}`), "channel not found"},
		{"too large", doc("ant", strings.Repeat(" ", 2<<20)), "larger than 1024 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			blob, err := catalog.ParseDeprecations("ant", []byte(tt.doc))
			if err == nil {
				_, err = catalog.SetDeprecations(p, blob)
			}
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant: %s", err, tt.want)
			}
		})
	}
	t.Run("replaces an earlier one", func(t *testing.T) {
		for range 2 {
			blob, err := catalog.ParseDeprecations("ant", []byte(doc("ant", `{"reference":{"schema":"olm.package"},"message":"old"}`)))
			if err != nil {
				t.Fatal(err)
			}
			if p, err = catalog.SetDeprecations(p, blob); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(slices.DeleteFunc(slices.Clone(p.Blobs), func(b catalog.Blob) bool { return b.Schema != "olm.deprecations" })); n != 1 {
			t.Errorf("%d documents", n)
		}
	})
}

func TestPresentBundlesAreFoundByDigest(t *testing.T) {
	const a, b = "sha256:aaaa", "sha256:bbbb"
	present := []catalog.BundleRef{{Image: "quay.io/ns/x@" + a}, {Image: "quay.io/ns/y:v1"}, {Image: "other.io/ns/z@" + b}}
	absent, found := catalog.Absent([]string{"quay.io/ns/new@sha256:cccc", "quay.io/ns/x@" + a, "quay.io/ns/z@" + b, "quay.io/ns/y@sha256:dddd"}, present)
	if !slices.Equal(absent, []string{"quay.io/ns/new@sha256:cccc", "quay.io/ns/y@sha256:dddd"}) {
		t.Error(absent)
	}
	want := []catalog.Presence{{Candidate: "quay.io/ns/x@" + a, Present: "quay.io/ns/x@" + a}, {Candidate: "quay.io/ns/z@" + b, Present: "other.io/ns/z@" + b}}
	if !slices.Equal(found, want) || found[0].Elsewhere() || !found[1].Elsewhere() {
		t.Error(found)
	}
}

func TestBlobsAreReadFromJSONAndYAML(t *testing.T) {
	blobs, err := catalog.ReadBlobs(strings.NewReader("{\"schema\":\"olm.package\",\"name\":\"ant\",\"n\":1e3}\n{\"schema\":\"olm.channel\",\"package\":\"ant\",\"name\":\"stable\"}"))
	if err != nil || len(blobs) != 2 || blobs[0].Package != "ant" || string(blobs[0].JSON) != `{"schema":"olm.package","name":"ant","n":1e3}` {
		t.Errorf("%v, %v", blobs, err)
	}
	blobs, err = catalog.ReadBlobs(strings.NewReader("---\nschema: olm.package\nname: ant\n---\nschema: olm.bundle\npackage: ant\nname: ant.v1\n"))
	if err != nil || len(blobs) != 2 || blobs[1].Schema != "olm.bundle" || blobs[1].Package != "ant" {
		t.Errorf("%v, %v", blobs, err)
	}
	for _, bad := range []string{`{"name":"x"}`, `[1]`, `{"schema":`, `{"schema":7}`} {
		if _, err := catalog.ReadBlobs(strings.NewReader(bad)); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
