package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, "add", new(handler))
	sub := sdktest.Submission("add", json.RawMessage(`{"from_index": "q.io/ns/i:v1", "binary_image": "q.io/ns/b:v1", "overwrite_from_index": true, "overwrite_from_index_token": "robot:secret", "bundles": ["q.io/ns/x:2", "q.io/ns/x:1", "q.io/ns/x:2"], "deprecation_list": ["q.io/ns/x:0"], "check_related_images": true}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1","overwrite":true,"bundles":["q.io/ns/x:2","q.io/ns/x:1"],"deprecation_list":["q.io/ns/x:0"],"check_related_images":true}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if !sub.Overwrite || sub.Target != "q.io/ns/i:v1" || len(sub.Grants) != 1 || sub.Grants[0].Scope != "q.io/ns/i" || sub.Grants[0].Password != "secret" {
		t.Errorf("overwrite %v of %s with %d grants", sub.Overwrite, sub.Target, len(sub.Grants))
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, "add", new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{}`: {"from_index", "from_index is required when no bundles are given"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "bundles": "x"}`:                                          {"bundles", "bundles"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "bundles": ["q.io/ns/x:1", ""]}`:                          {"bundles", "bundles"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "bundles": ["q.io/ns/x:1"], "graph_update_mode": "best"}`: {"graph_update_mode", "best"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "bundles": ["q.io/ns/x:1"], "surprise": 1}`:               {"surprise", "unknown parameter: surprise"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission("add", json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.Contains(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
