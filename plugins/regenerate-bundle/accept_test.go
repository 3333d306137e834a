package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const spec = `"from_bundle_image": "q.io/ns/bundle:v1"`

func TestSubmissionsAreNormalised(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	tests := map[string]struct{ body, params, fields string }{
		"only an image": {
			`{` + spec + `}`,
			`{"from_bundle_image":"q.io/ns/bundle:v1"}`,
			`{"bundle_image":null,"bundle_replacements":{},"from_bundle_image":"q.io/ns/bundle:v1","from_bundle_image_resolved":null,"organization":null}`,
		},
		"everything": {
			`{` + spec + `, "organization": "acme", "bundle_replacements": {"a": "b"}, "registry_auths": {"auths": {"r.io": {"auth": "!"}}}}`,
			`{"from_bundle_image":"q.io/ns/bundle:v1","organization":"acme","bundle_replacements":{"a":"b"},"unreadable_auths":["r.io"]}`,
			`{"bundle_image":null,"bundle_replacements":{"a":"b"},"from_bundle_image":"q.io/ns/bundle:v1","from_bundle_image_resolved":null,"organization":"acme"}`,
		},
		"everything empty": {
			`{` + spec + `, "organization": "", "bundle_replacements": [], "registry_auths": null}`,
			`{"from_bundle_image":"q.io/ns/bundle:v1"}`,
			`{"bundle_image":null,"bundle_replacements":{},"from_bundle_image":"q.io/ns/bundle:v1","from_bundle_image_resolved":null,"organization":null}`,
		},
		"everything false": {
			`{` + spec + `, "organization": false, "bundle_replacements": false, "registry_auths": false}`,
			`{"from_bundle_image":"q.io/ns/bundle:v1"}`,
			`{"bundle_image":null,"bundle_replacements":{},"from_bundle_image":"q.io/ns/bundle:v1","from_bundle_image_resolved":null,"organization":null}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sub := sdktest.Submission(requestType, json.RawMessage(test.body))
			if err := h.Accept(t.Context(), sub); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.params, string(sub.Params)); diff != "" {
				t.Error(diff)
			}
			fields, err := json.Marshal(sub.Fields)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.fields, string(fields)); diff != "" {
				t.Error(diff)
			}
			if sub.Target != "" || sub.Overwrite || len(sub.Secrets) > 0 {
				t.Errorf("target %q, overwrite %v, %d secrets", sub.Target, sub.Overwrite, len(sub.Secrets))
			}
		})
	}
}

func TestRegistryAuthsBecomeGrantsAndNothingElse(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	sub := sdktest.Submission(requestType, json.RawMessage(`{`+spec+`, "registry_auths": {"auths": {"r.io/ns": {"auth": "dXNlcjpoaWRkZW4="}}}}`))
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	want := []sdk.Grant{{Scope: "r.io/ns", Username: "user", Password: "hidden"}}
	if !cmp.Equal(want, sub.Grants) {
		t.Errorf("%d grants, or others than wanted", len(sub.Grants))
	}
	fields, err := json.Marshal(sub.Fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(sub.Params), string(fields)} {
		if strings.Contains(text, "hidden") || strings.Contains(text, "dXNlcjpoaWRkZW4") || strings.Contains(text, "user") {
			t.Errorf("the credentials are in %s", text)
		}
	}
}

// The order of these cases is the order of the checks: each has the faults of
// the ones after it too.
func TestTheFirstFaultOfASubmissionIsReported(t *testing.T) {
	h := sdktest.Handler(t, requestType, new(handler))
	tests := []struct{ body, field, want string }{
		{`{"bundles": []}`, "from_bundle_image", "required parameter missing: from_bundle_image"},
		{`{"from_bundle_image": "", "bundles": null, "add_arches": []}`, "add_arches", "unknown parameters: add_arches, bundles"},
		{`{"from_bundle_image": "", "bundle_replacements": 5}`, "from_bundle_image", "from_bundle_image must not be empty"},
		{`{"from_bundle_image": null}`, "from_bundle_image", "from_bundle_image must not be empty"},
		{`{"from_bundle_image": 5, "bundle_replacements": [1], "organization": 5}`, "bundle_replacements", "bundle_replacements must be an object whose values are strings"},
		{`{"from_bundle_image": 5, "bundle_replacements": {"a": 1}, "organization": 5}`, "bundle_replacements", "bundle_replacements must be an object whose values are strings"},
		{`{"from_bundle_image": 5, "bundle_replacements": {"a": "b"}, "organization": 5}`, "organization", "organization must be a string"},
		{`{"from_bundle_image": 5, "registry_auths": 5}`, "from_bundle_image", "from_bundle_image must be a string"},
		{`{"from_bundle_image": "x", "registry_auths": 5}`, "registry_auths", "registry_auths must be an object"},
		{`{"from_bundle_image": "x"}`, "from_bundle_image", "from_bundle_image: \"x\" is not a pull specification"},
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
