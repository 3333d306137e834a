package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, "create-empty-index", new(handler))
	sub := sdktest.Submission("create-empty-index", json.RawMessage(`{"from_index": "q.io/ns/i:v1", "binary_image": "q.io/ns/b:v1", "output_fbc": true, "labels": {"version": "v4.14"}}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1","output_fbc":true,"labels":{"version":"v4.14"}}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, "create-empty-index", new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{}`:                {"from_index", "from_index must be a non-empty string"},
		`{"from_index": 5}`: {"from_index", "from_index must be a non-empty string"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "output_fbc": "yes"}`:          {"output_fbc", "output_fbc"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "labels": {"a": 1}}`:           {"labels", "labels"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "build_tags": ["x"]}`:          {"build_tags", "build_tags cannot be used with create-empty-index"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "add_arches": ["amd64"]}`:      {"add_arches", "add_arches cannot be used with create-empty-index"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "overwrite_from_index": true}`: {"overwrite_from_index", "overwrite_from_index cannot be used with create-empty-index"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "surprise": 1}`:                {"surprise", "unknown parameter: surprise"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission("create-empty-index", json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.Contains(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
