package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	sub := sdktest.Submission(requestType, json.RawMessage(`{"parent_bundle_image": "q.io/ns/bundle:v1", "organization": "acme",
		"registry_auths": {"auths": {"r.io": {"auth": "dXNlcjpoaWRkZW4="}, "s.io": {"auth": "!"}}}}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"parent_bundle_image":"q.io/ns/bundle:v1","organization":"acme","unreadable_auths":["s.io"]}`, string(sub.Params)); diff != "" {
		t.Error(diff)
	}
	fields, err := json.Marshal(sub.Fields)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"organization":"acme","parent_bundle_image":"q.io/ns/bundle:v1","parent_bundle_image_resolved":null}`
	if diff := cmp.Diff(want, string(fields)); diff != "" {
		t.Error(diff)
	}
	if !cmp.Equal([]sdk.Grant{{Scope: "r.io", Username: "user", Password: "hidden"}}, sub.Grants) {
		t.Errorf("%d grants, or others than wanted", len(sub.Grants))
	}
}

// The order of these cases is the order of the checks.
func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	tests := []struct{ body, field, want string }{
		{`{"bundle_replacements": {}}`, "parent_bundle_image", "required parameter missing: parent_bundle_image"},
		{`{"parent_bundle_image": "", "bundle_replacements": {}}`, "bundle_replacements", "unknown parameter: bundle_replacements"},
		{`{"parent_bundle_image": "", "organization": 5}`, "parent_bundle_image", "parent_bundle_image must not be empty"},
		{`{"parent_bundle_image": 5, "organization": 5}`, "organization", "organization must be a string"},
		{`{"parent_bundle_image": 5, "registry_auths": 5}`, "parent_bundle_image", "parent_bundle_image must be a string"},
		{`{"parent_bundle_image": "x", "registry_auths": 5}`, "registry_auths", "registry_auths must be an object"},
		{`{"parent_bundle_image": "x"}`, "parent_bundle_image", "parent_bundle_image: \"x\" is not a pull specification"},
	}
	for _, test := range tests {
		t.Run(test.body, func(t *testing.T) {
			err := h.Accept(t.Context(), sdktest.Submission(requestType, json.RawMessage(test.body)))
			fault, ok := err.(*sdk.Error)
			if !ok || fault.Code != sdk.Invalid || fault.Field != test.field || !strings.HasPrefix(fault.Message, test.want) {
				t.Errorf("error %+v, want %s: %s", err, test.field, test.want)
			}
		})
	}
}
