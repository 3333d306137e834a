package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, "rm", new(handler))
	sub := sdktest.Submission("rm", json.RawMessage(`{"from_index": "q.io/ns/i:v1", "binary_image": "q.io/ns/b:v1", "overwrite_from_index": true, "overwrite_from_index_token": "robot:secret", "operators": ["b", "a", "b"], "build_tags": ["y", "x", "y"], "distribution_scope": "STAGE"}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1","distribution_scope":"stage","overwrite":true,"build_tags":["x","y"],"operators":["b","a"]}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if !sub.Overwrite || sub.Target != "q.io/ns/i:v1" || len(sub.Grants) != 1 || sub.Grants[0].Scope != "q.io/ns/i" || sub.Grants[0].Password != "secret" {
		t.Errorf("overwrite %v of %s with %d grants", sub.Overwrite, sub.Target, len(sub.Grants))
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, "rm", new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{}`:                   {"operators", "operators must be a non-empty array of package names"},
		`{"operators": "a"}`:   {"operators", "operators"},
		`{"operators": []}`:    {"operators", "non-empty array"},
		`{"operators": ["a"]}`: {"from_index", "required parameter missing: from_index"},
		`{"operators": ["a"], "from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "surprise": 1}`:                       {"surprise", "unknown parameter: surprise"},
		`{"operators": ["a"], "from_index": "q.io/ns/i:v1"}`:                                                                   {"binary_image", "binary_image is required"},
		`{"operators": ["a"], "from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "overwrite_from_index_token": "x:y"}`: {"overwrite_from_index", "must be true"},
		`{"operators": ["a"], "from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "distribution_scope": "world"}`:       {"distribution_scope", "world"},
		`{"operators": ["a"], "from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "build_tags": ["-x"]}`:                {"build_tags", "cannot be a tag"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission("rm", json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.Contains(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
