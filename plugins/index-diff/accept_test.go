package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	sub := sdktest.Submission(requestType, json.RawMessage(`{"from_index": "q.io/ns/i:v1", "to_index": "q.io/ns/i:v2",
		"registry_auths": {"auths": {"q.io": {"auth": "dXNlcjpoaWRkZW4="}}}}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"from_index":"q.io/ns/i:v1","to_index":"q.io/ns/i:v2"}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if len(sub.Grants) != 1 || sub.Grants[0].Scope != "q.io" {
		t.Errorf("%d grants", len(sub.Grants))
	}
}

func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	for body, want := range map[string]struct{ field, text string }{
		`{"to_index": "q.io/ns/i:v1"}`:                                            {"from_index", "required parameter missing: from_index"},
		`{"from_index": "q.io/ns/i:v1"}`:                                          {"to_index", "required parameter missing: to_index"},
		`{"from_index": "q.io/ns/i:v1", "to_index": "q.io/ns/i:v1", "x": 1}`:      {"x", "unknown parameter: x"},
		`{"from_index": "../i", "to_index": "q.io/ns/i:v1"}`:                      {"from_index", "from_index"},
		`{"from_index": "q.io/ns/i:v1", "to_index": 1}`:                           {"to_index", "to_index"},
		`{"from_index": "q.io/i:1", "to_index": "q.io/i:2", "registry_auths": 1}`: {"registry_auths", "registry_auths"},
	} {
		err := h.Accept(t.Context(), sdktest.Submission(requestType, json.RawMessage(body)))
		fault, ok := err.(*sdk.Error)
		if !ok || fault.Code != sdk.Invalid || fault.Field != want.field || !strings.HasPrefix(fault.Message, want.text) {
			t.Errorf("%s: %+v, want %s: %s", body, err, want.field, want.text)
		}
	}
}
