package core_test

import (
	"testing"

	"github.com/iib-engine/iib/core"
)

func TestTagSpec(t *testing.T) {
	for spec, want := range map[string]string{
		"quay.io/ns/index:v4.20":   "quay.io/ns/index:v4.20",
		"localhost:5000/index:v1":  "localhost:5000/index:v1",
		"localhost:5000/a/b/c":     "localhost:5000/a/b/c:latest",
		"":                         "",
		"index:v1":                 "",
		"/ns/index:v1":             "",
		"quay.io/ns/index@sha256:": "",
		"quay.io/../index:v1":      "",
		"quay.io/ns/index:v1/x":    "",
		"quay.io/ns/index:":        "",
		"quay.io/:v1":              "",
		"quay.io/ns/index:v1:v2":   "",
		"quay.io/ns/in?dex:v1":     "",
		"quay.io/ns/%2e%2e/x:v1":   "",
	} {
		got, err := core.TagSpec(spec)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", spec, got, err, want)
		}
	}
	if r, n, v := core.SplitTag("localhost:5000/a/b:v1"); r != "localhost:5000" || n != "a/b" || v != "v1" {
		t.Error(r, n, v)
	}
}
