package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, "fbc-operations", new(handler))
	sub := sdktest.Submission("fbc-operations", json.RawMessage(`{"from_index": "q.io/ns/i:v1", "binary_image": "q.io/ns/b:v1", "overwrite_from_index": true, "overwrite_from_index_token": "robot:secret", "fbc_fragments": ["q.io/ns/f:2", "q.io/ns/f:1", "q.io/ns/f:2"], "add_arches": ["arm64"]}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1","add_arches":["arm64"],"overwrite":true,"fbc_fragments":["q.io/ns/f:2","q.io/ns/f:1"]}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if !sub.Overwrite || sub.Target != "q.io/ns/i:v1" || len(sub.Grants) != 1 || sub.Grants[0].Scope != "q.io/ns/i" || sub.Grants[0].Password != "secret" {
		t.Errorf("overwrite %v of %s with %d grants", sub.Overwrite, sub.Target, len(sub.Grants))
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, "fbc-operations", new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{}`: {"fbc_fragments", "fbc_fragments is required"},
		`{"fbc_fragment": "q.io/f:1", "fbc_fragments": ["q.io/f:1"]}`: {"fbc_fragment", "exclude each other"},
		`{"fbc_fragment": 5}`:                {"fbc_fragment", "fbc_fragment"},
		`{"fbc_fragments": ["q.io/ns/f:1"]}`: {"from_index", "required parameter missing: from_index"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "fbc_fragments": []}`:                             {"fbc_fragments", "fbc_fragments"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "fbc_fragments": ["../f"]}`:                       {"fbc_fragments", "../f"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "fbc_fragments": ["q.io/ns/f:1"], "surprise": 1}`: {"surprise", "unknown parameter: surprise"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission("fbc-operations", json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.Contains(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
