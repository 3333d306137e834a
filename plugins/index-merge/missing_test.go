package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
)

func ref(pkg, version, digest string) catalog.BundleRef {
	return catalog.BundleRef{Package: pkg, Name: pkg + ".v" + version, Version: version, Image: "q.io/n/" + pkg + "@sha256:" + digest}
}

func named(r catalog.BundleRef, name string) catalog.BundleRef {
	r.Name = name
	return r
}

func TestMissingOf(t *testing.T) {
	source := []catalog.BundleRef{ref("a", "1.0.0", "01"), ref("a", "1.1.0", "02")}
	elsewhere := catalog.BundleRef{Package: "a", Name: "a.other", Image: "other.io/x@sha256:01"}
	for _, test := range []struct {
		name         string
		target, want []catalog.BundleRef
		gone         map[string]bool
	}{
		{name: "nothing in an empty target"},
		{name: "not what the source has", target: source},
		{name: "not the same digest in another place", target: []catalog.BundleRef{elsewhere}},
		{name: "not the same name with another digest", target: []catalog.BundleRef{ref("a", "1.1.0", "99")}},
		{
			name:   "what is new by digest and name",
			target: []catalog.BundleRef{ref("a", "1.2.0", "03"), ref("b", "1.0.0", "04")},
			want:   []catalog.BundleRef{ref("a", "1.2.0", "03"), ref("b", "1.0.0", "04")},
		},
		{
			name:   "one digest once",
			target: []catalog.BundleRef{ref("b", "1.0.0", "04"), named(ref("b", "1.0.0", "04"), "twin")},
			want:   []catalog.BundleRef{ref("b", "1.0.0", "04")},
		},
		{
			name:   "not what the source has deprecated",
			target: []catalog.BundleRef{ref("a", "0.9.0", "05")},
			gone:   map[string]bool{"a.v0.9.0": true},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, missingOf(source, test.gone, test.target)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNeedDigests(t *testing.T) {
	if err := needDigests("q.io/i:1", []catalog.BundleRef{ref("a", "1.0.0", "01")}); err != nil {
		t.Errorf("all by digest: %v", err)
	}
	for name, bad := range map[string]catalog.BundleRef{
		"q.io/n/a:v1": {Package: "a", Name: "a.v1", Image: "q.io/n/a:v1"},
		"a.v2":        {Package: "a", Name: "a.v2"},
	} {
		err := needDigests("q.io/i:1", []catalog.BundleRef{ref("a", "1.0.0", "01"), bad})
		if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHighestKeepsOneBundleOfEachPackage(t *testing.T) {
	got := highest([]catalog.BundleRef{
		ref("b", "1.9.0", "01"), ref("b", "1.10.0", "02"), ref("b", "1.10.0-rc1", "03"),
		ref("a", "next", "04"), ref("a", "0.0.1", "05"), ref("a", "0.0.1", "05"),
		ref("c", "01.2", "06"), ref("c", "01.3", "07"),
		ref("d", "1.0.0+2", "08"), ref("d", "1.0.0", "09"),
	})
	want := []catalog.BundleRef{ref("a", "0.0.1", "05"), ref("b", "1.10.0", "02"), ref("c", "01.3", "07"), ref("d", "1.0.0+2", "08")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAdmits(t *testing.T) {
	for _, test := range []struct {
		label, version string
		tolerant, want bool
	}{
		{"v4.6", "v4.6", false, true},
		{"v4.6", "v4.5", false, false},
		{"=v4.5", "v4.6", false, false},
		{"v4.5-v4.7", "v4.6", false, true},
		{"v4.5-v4.7", "v4.8", false, false},
		{"=v4.9|=v4.10|>=v4.12", "v4.8", false, false},
		{"=v4.9|=v4.10|>=v4.12", "v4.9", false, true},
		{"=v4.9|=v4.10|>=v4.12", "v4.10", false, true},
		{"=v4.9|=v4.10|>=v4.12", "v4.11", false, false},
		{"=v4.9|=v4.10|>=v4.12", "v4.12", false, true},
		{"=v4.5|v4.10", "v4.12", false, false},
		{"v4.5|>=v4.10", "v4.12", false, false},
		{">=v4.10", "v4.10", false, false},
		{"v4.6,v4.5", "v4.10", false, true},
		{"v4.6,v4.5", "v4.5", false, true},
		{"v=4.6", "v4.6", false, false},
		{"tree", "v4.6", true, false},
		{"", "v4.6", false, false},
		{"", "v4.6", true, true},
	} {
		version, err := catalog.ParseOpenShiftVersion(test.version)
		if err != nil {
			t.Fatal(err)
		}
		if err := admits(test.label, version, test.tolerant); (err == nil) != test.want {
			t.Errorf("label %q in %s, tolerant %v: %v", test.label, test.version, test.tolerant, err)
		}
	}
}

func TestExempt(t *testing.T) {
	entries := []string{"q.io/team/", "robot@d"}
	for _, test := range []struct {
		user    string
		indexes []string
		want    bool
	}{
		{"robot@d", nil, true},
		{"robot@dd", []string{"q.io/other/i:1", ""}, false},
		{"", []string{"q.io/team/i:1"}, true},
		{"", []string{"q.io/other/i:1", "q.io/team/i:1"}, true},
		{"", []string{"x.io/q.io/team/i:1"}, false},
	} {
		if got := exempt(entries, test.user, test.indexes...); got != test.want {
			t.Errorf("user %q, indexes %v: %v", test.user, test.indexes, got)
		}
	}
}
