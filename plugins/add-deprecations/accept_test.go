package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, "add-deprecations", new(handler))
	sub := sdktest.Submission("add-deprecations", json.RawMessage(`{"from_index": "q.io/ns/i:v1", "binary_image": "q.io/ns/b:v1", "overwrite_from_index": true, "overwrite_from_index_token": "robot:secret", "operator_package": "etcd", "deprecation_schema": "{ }"}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1","overwrite":true,"operator_package":"etcd","deprecation_schema":"{ }"}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if !sub.Overwrite || sub.Target != "q.io/ns/i:v1" || len(sub.Grants) != 1 || sub.Grants[0].Scope != "q.io/ns/i" || sub.Grants[0].Password != "secret" {
		t.Errorf("overwrite %v of %s with %d grants", sub.Overwrite, sub.Target, len(sub.Grants))
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, "add-deprecations", new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{}`:                           {"operator_package", "operator_package must be a non-empty string"},
		`{"operator_package": "etcd"}`: {"deprecation_schema", "deprecation_schema must be a non-empty string"},
		`{"operator_package": "etcd", "deprecation_schema": "{"}`:                                                                            {"deprecation_schema", "must be the text of one JSON document"},
		`{"operator_package": "etcd", "deprecation_schema": "{} {}"}`:                                                                        {"deprecation_schema", "must be the text of one JSON document"},
		`{"operator_package": "etcd", "deprecation_schema": "{}"}`:                                                                           {"from_index", "required parameter missing: from_index"},
		`{"from_index":"q.io/ns/i:v1","binary_image":"q.io/ns/b:v1", "operator_package": "etcd", "deprecation_schema": "{}", "surprise": 1}`: {"surprise", "unknown parameter: surprise"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission("add-deprecations", json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.Contains(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
