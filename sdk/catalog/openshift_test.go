package catalog_test

import (
	"testing"

	"github.com/iib-engine/iib/sdk/catalog"
)

func TestOpenShiftLabelAdmits(t *testing.T) {
	tests := []struct {
		name, label string
		malformed   bool
		admits      []string
		refuses     []string
	}{
		{name: "a plain version means since", label: "v4.6", admits: []string{"v4.6", "v4.10", "4.7", "v5.0"}, refuses: []string{"v4.5", "v3.11"}},
		{name: "the v is optional", label: "4.6", admits: []string{"v4.6"}},
		{name: "an equals sign means only", label: "=v4.6", admits: []string{"v4.6"}, refuses: []string{"v4.5", "v4.7"}},
		{name: "only another version", label: "=v4.5", refuses: []string{"v4.6"}},
		{name: "a range includes both ends", label: "v4.5-v4.7", admits: []string{"v4.5", "v4.6", "v4.7"}, refuses: []string{"v4.4", "v4.8"}},
		{name: "a range counts minors as numbers", label: "v4.9-v4.11", admits: []string{"v4.9", "v4.10", "v4.11"}, refuses: []string{"v4.1", "v4.12"}},
		{name: "a list means since its smallest", label: "v4.6,v4.5", admits: []string{"v4.5", "v4.6", "v4.10"}, refuses: []string{"v4.4"}},
		{name: "a list of three in any order", label: "v4.10,v4.6,v4.8", admits: []string{"v4.6", "v4.20"}, refuses: []string{"v4.5"}},
		{name: "alternatives", label: "=v4.9|=v4.10|>=v4.12", admits: []string{"v4.9", "v4.10", "v4.12", "v4.13"}, refuses: []string{"v4.8", "v4.11"}},
		{name: "an alternative without a sign spoils the label", label: "=v4.5|v4.10", malformed: true, refuses: []string{"v4.5", "v4.12"}},
		{name: "a plain first alternative spoils the label", label: "v4.5|>=v4.10", malformed: true, refuses: []string{"v4.12"}},
		{name: "a lone greater-or-equal is not known", label: ">=v4.10", malformed: true, refuses: []string{"v4.10"}},
		{name: "a sign after the v is not known", label: "v=4.6", malformed: true, refuses: []string{"v4.6"}},
		{name: "any word", label: "latest", malformed: true, refuses: []string{"v4.6"}},
		{name: "no text", label: "", malformed: true, refuses: []string{"v4.6"}},
		{name: "an empty alternative", label: "=v4.6|", malformed: true, refuses: []string{"v4.6"}},
		{name: "an open range", label: "v4.6-", malformed: true, refuses: []string{"v4.6"}},
		{name: "digits without end", label: "v4.99999999999999999999", malformed: true, refuses: []string{"v4.6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := catalog.ParseOpenShiftRange(tt.label)
			if (err != nil) != tt.malformed {
				t.Fatalf("ParseOpenShiftRange(%q): %v", tt.label, err)
			}
			for _, s := range tt.admits {
				if !r.Admits(version(t, s)) {
					t.Errorf("%q refuses %s", tt.label, s)
				}
			}
			for _, s := range tt.refuses {
				if r.Admits(version(t, s)) {
					t.Errorf("%q admits %s", tt.label, s)
				}
			}
		})
	}
}

func version(t *testing.T, s string) catalog.OpenShiftVersion {
	t.Helper()
	v, err := catalog.ParseOpenShiftVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestOpenShiftVersionOfAnIndexMustBeWellFormed(t *testing.T) {
	for _, s := range []string{"", "v4", "latest", "v4.6.1", "4.x", "vv4.6"} {
		if v, err := catalog.ParseOpenShiftVersion(s); err == nil {
			t.Errorf("ParseOpenShiftVersion(%q) = %v", s, v)
		}
	}
}
