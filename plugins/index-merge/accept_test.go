package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, "merge-index-image", new(handler))
	sub := sdktest.Submission("merge-index-image", json.RawMessage(`{"source_from_index": "q.io/ns/s:v1", "target_index": "q.io/ns/i:v1", "binary_image": "q.io/ns/b:v1", "overwrite_target_index": true, "overwrite_target_index_token": "robot:secret", "deprecation_list": ["q.io/ns/x:0"]}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"source_from_index":"q.io/ns/s:v1","target_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1","overwrite":true,"deprecation_list":["q.io/ns/x:0"]}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if !sub.Overwrite || sub.Target != "q.io/ns/i:v1" || len(sub.Grants) != 1 || sub.Grants[0].Scope != "q.io/ns/i" || sub.Grants[0].Password != "secret" {
		t.Errorf("overwrite %v of %s with %d grants", sub.Overwrite, sub.Target, len(sub.Grants))
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, "merge-index-image", new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{}`:                                    {"source_from_index", "source_from_index"},
		`{"source_from_index": "q.io/ns/s:v1"}`: {"binary_image", "binary_image is required"},
		`{"source_from_index": "../s", "binary_image": "q.io/ns/b:v1"}`:                                         {"source_from_index", "../s"},
		`{"source_from_index": "q.io/ns/s:v1", "binary_image": "q.io/ns/b:v1", "surprise": 1}`:                  {"surprise", "unknown parameter: surprise"},
		`{"source_from_index": "q.io/ns/s:v1", "binary_image": "q.io/ns/b:v1", "overwrite_target_index": true}`: {"overwrite_target_index_token", "overwrite_target_index needs overwrite_target_index_token"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission("merge-index-image", json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.Contains(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
