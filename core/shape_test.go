package core_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

var patched = &core.HandlerType{Type: "add", Doc: sdk.HandlerDoc{Fields: []sdk.FieldDoc{
	{Name: "text", Shape: sdk.ShapeText},
	{Name: "index_image", Shape: sdk.ShapeImage, Image: true},
	{Name: "fragments", Shape: sdk.ShapeImages, Image: true},
	{Name: "mapping", Shape: sdk.ShapeMapping},
	{Name: "replacements", Shape: sdk.ShapeTextMap},
	{Name: "versions", Shape: sdk.ShapeJSONText},
	{Name: "bundles", Shape: sdk.ShapeIgnored},
	{Name: "size", Shape: sdk.ShapeNumber},
	{Name: "from_index"},
}}}

func TestWriteBackAccepts(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        *core.Change
	}{
		{"arches", `["s390x","amd64"]`, &core.Change{Arches: []string{"s390x", "amd64"}}},
		{"arches", `[]`, &core.Change{}},
		{"text", `"prod"`, &core.Change{Fields: fields("text", `"prod"`), Images: nil}},
		{"index_image", `"scratch"`, &core.Change{Fields: fields("index_image", `"scratch"`), Images: []string{"scratch"}}},
		{"fragments", `["q/a:1","q/b@sha256:1"]`, &core.Change{Fields: fields("fragments", `["q/a:1","q/b@sha256:1"]`), Images: []string{"q/a:1", "q/b@sha256:1"}}},
		{"fragments", `[]`, &core.Change{Fields: fields("fragments", `[]`)}},
		{"mapping", `{"op":["q/a:1"],"none":[]}`, &core.Change{Fields: fields("mapping", `{"op":["q/a:1"],"none":[]}`)}},
		{"versions", `"{\"op\": \"1.0\"}"`, &core.Change{Fields: fields("versions", `{"op": "1.0"}`)}},
		{"bundles", `["q/a:1"]`, &core.Change{}},
		{"size", `12.5`, &core.Change{Fields: fields("size", `12.5`)}},
	} {
		t.Run(test.name+" "+test.value, func(t *testing.T) {
			got, err := core.WriteBack(patched, fields(test.name, test.value))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Fields) == 0 {
				got.Fields = nil
			}
			if len(got.Arches) == 0 {
				got.Arches = nil
			}
			if len(got.Images) == 0 {
				got.Images = nil
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestWriteBackRefusesAndNamesTheKey(t *testing.T) {
	for name, values := range map[string][]string{
		"arches":       {`null`, `"amd64"`, `[1]`, `[""]`, `[null]`, `{}`},
		"text":         {`null`, `""`, `1`, `[]`},
		"index_image":  {`null`, `""`, `"quay.io/ns/img"`, `{}`},
		"fragments":    {`null`, `[1]`, `["quay.io/ns/img"]`, `"q/a:1"`},
		"mapping":      {`null`, `[]`, `{"op":"q/a:1"}`, `{"op":["quay.io/ns/img"]}`, `{"op":null}`, `{"op":[null]}`},
		"replacements": {`null`, `[]`, `{"a":1}`, `{"a":null}`},
		"versions":     {`null`, `{}`, `"[]"`, `"{"`, `""`},
		"bundles":      {`null`, `1`, `[1]`},
		"size":         {`null`, `"1"`, `""`, `[]`, `true`},
		"from_index":   {`"q/a:1"`},
		"unknown":      {`"q/a:1"`},
	} {
		for _, value := range values {
			t.Run(name+" "+value, func(t *testing.T) {
				change, err := core.WriteBack(patched, fields(name, value))
				if sdk.CodeOf(err) != sdk.Invalid {
					t.Fatalf("got %+v and %v, want Invalid", change, err)
				}
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%q does not name %s", err, name)
				}
			})
		}
	}
}

func fields(name, value string) map[string]json.RawMessage {
	return map[string]json.RawMessage{name: json.RawMessage(value)}
}
