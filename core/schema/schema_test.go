package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core/schema"
	"github.com/iib-engine/iib/sdk"
)

var doc = &sdk.HandlerDoc{
	Params: []sdk.ParamDoc{
		{Name: "image", Required: true, Schema: json.RawMessage(`{"type":"string","minLength":1}`)},
		{Name: "arches", Schema: json.RawMessage(`{"type":"array","items":{"type":"string"},"uniqueItems":true}`)},
		{Name: "token", Secret: true, Schema: json.RawMessage(`{"type":"string","maxLength":10}`)},
		{Name: "anything"},
	},
	Fields: []sdk.FieldDoc{
		{Name: "image", Schema: json.RawMessage(`{"type":"string"}`)},
		{Name: "result", Schema: json.RawMessage(`{"type":["string","null"]}`)},
		{Name: "count", Schema: json.RawMessage(`{"type":"integer"}`)},
		{Name: "free"},
	},
}

func TestASubmissionBecomesParametersSecretsAndFields(t *testing.T) {
	sub := &sdk.Submission{Body: json.RawMessage(`{"image":"q/a:1","token":"SECRET","anything":[1]}`)}
	if err := schema.Judge(doc, sub); err != nil {
		t.Fatal(err)
	}
	if got, want := string(sub.Params), `{"anything":[1],"image":"q/a:1"}`; got != want {
		t.Errorf("params %s, want %s", got, want)
	}
	if sub.Secrets["token"].Reveal() != "SECRET" {
		t.Error("the token is not set apart")
	}
	want := map[string]json.RawMessage{"image": json.RawMessage(`"q/a:1"`), "result": json.RawMessage("null"), "free": json.RawMessage("null")}
	if diff := cmp.Diff(want, sub.Fields); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsNameTheirParameter(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                                   "required parameters are missing: image",
		`{"image":"a","x":1,"b":1}`:            "unknown parameters: b, x; this endpoint knows anything, arches, image, token",
		`{"image":""}`:                         "image: minLength: got 0, want 1",
		`{"image":7}`:                          "image: got number, want string",
		`{"image":"a","arches":["a",7]}`:       "arches: at 1: got number, want string",
		`{"image":"a","token":["SECRET"]}`:     "token does not have the form that this endpoint documents",
		`{"image":"a","token":"SECRETTTT!!!"}`: "token does not have the form that this endpoint documents",
		`[]`:                                   "the body must be a JSON object",
	} {
		err := schema.Judge(doc, &sdk.Submission{Body: json.RawMessage(body)})
		if err == nil || err.Error() != want || sdk.CodeOf(err) != sdk.Invalid || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func TestASchemaReadsNothingElse(t *testing.T) {
	for _, ref := range []string{"file:///etc/passwd", "http://127.0.0.1:1/x", "iib:other"} {
		bad := &sdk.HandlerDoc{Params: []sdk.ParamDoc{{Name: "a", Schema: json.RawMessage(`{"$ref":"` + ref + `"}`)}}}
		err := schema.Judge(bad, &sdk.Submission{Body: json.RawMessage(`{"a":1}`)})
		if sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
