package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

type connection struct {
	URL     string        `hcl:"url" doc:"Where it is."`
	Timeout time.Duration `hcl:"timeout,optional" doc:"How long to wait."`
}

type query struct {
	Name    string            `hcl:"name,label" doc:"What to call it."`
	Group   string            `hcl:"group,label"`
	Context string            `hcl:"context"`
	Extra   map[string]string `hcl:"extra,optional"`
	Limits  *limits           `hcl:"limits,block"`
}

type limits struct {
	Most int `hcl:"most"`
}

type mode string

// everything has each type and role once.
type everything struct {
	connection                              // lends its fields
	Token      sdk.Secret                   `hcl:"token,optional"`
	Mode       mode                         `hcl:"mode,optional"`
	Strict     bool                         `hcl:"strict,optional"`
	Retries    int                          `hcl:"retries"`
	Small      int8                         `hcl:"small,optional"`
	Ratio      float64                      `hcl:"ratio,optional"`
	Registries []string                     `hcl:"registries,optional"`
	Labels     map[string]string            `hcl:"labels,optional"`
	Renames    map[string]map[string]string `hcl:"renames,optional"`
	Perhaps    *string                      `hcl:"perhaps"`
	Limits     limits                       `hcl:"limits,block" doc:"The limits."`
	Queries    []query                      `hcl:"query,block" doc:"The queries."`
	Pointers   []*limits                    `hcl:"pointer,block"`
	Maybe      *connection                  `hcl:"maybe,block"`

	state int // not configuration
	Other int // neither
}

func TestOf(t *testing.T) {
	limitsSchema := &pb.Schema{Attributes: []*pb.Attribute{{Name: "most", Type: pb.Type_TYPE_INT, Required: true}}}
	connectionSchema := []*pb.Attribute{
		{Name: "url", Doc: "Where it is.", Type: pb.Type_TYPE_STRING, Required: true},
		{Name: "timeout", Doc: "How long to wait.", Type: pb.Type_TYPE_DURATION},
	}
	want := &pb.Schema{
		Attributes: []*pb.Attribute{
			connectionSchema[0],
			{Name: "timeout", Doc: "How long to wait.", Type: pb.Type_TYPE_DURATION, Default: []byte(`"30s"`)},
			{Name: "token", Type: pb.Type_TYPE_STRING, Sensitive: true},
			{Name: "mode", Type: pb.Type_TYPE_STRING},
			{Name: "strict", Type: pb.Type_TYPE_BOOL, Default: []byte(`true`)},
			{Name: "retries", Type: pb.Type_TYPE_INT, Required: true},
			{Name: "small", Type: pb.Type_TYPE_INT},
			{Name: "ratio", Type: pb.Type_TYPE_FLOAT},
			{Name: "registries", Type: pb.Type_TYPE_STRINGS, Default: []byte(`["quay.io"]`)},
			{Name: "labels", Type: pb.Type_TYPE_STRING_MAP},
			{Name: "renames", Type: pb.Type_TYPE_STRING_MAPS},
			{Name: "perhaps", Type: pb.Type_TYPE_STRING},
		},
		Blocks: []*pb.Block{
			{Name: "limits", Doc: "The limits.", Required: true, Schema: limitsSchema},
			{Name: "query", Doc: "The queries.", Repeated: true, Labels: []*pb.Label{{Name: "name", Doc: "What to call it."}, {Name: "group"}}, Schema: &pb.Schema{
				Attributes: []*pb.Attribute{
					{Name: "context", Type: pb.Type_TYPE_STRING, Required: true},
					{Name: "extra", Type: pb.Type_TYPE_STRING_MAP},
				},
				Blocks: []*pb.Block{{Name: "limits", Schema: limitsSchema}},
			}},
			{Name: "pointer", Repeated: true, Schema: limitsSchema},
			{Name: "maybe", Schema: &pb.Schema{Attributes: connectionSchema}},
		},
	}
	prototype := &everything{
		connection: connection{Timeout: 30 * time.Second, URL: "a required one has no default"},
		Strict:     true, Registries: []string{"quay.io"}, Token: "a secret is not shown",
	}
	got, err := Of(prototype)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("schema (-want +got):\n%s", d)
	}
}

func TestOfNoStruct(t *testing.T) {
	for _, v := range []any{nil, 7, func() {}, (*everything)(nil), everything{}, new(int)} {
		s, err := Of(v)
		if err != nil || len(s.Attributes)+len(s.Blocks) > 0 {
			t.Errorf("%T: got %v, %v", v, s, err)
		}
	}
}

type endless struct {
	Next *endless `hcl:"next,block"`
}

func TestOfMistakes(t *testing.T) {
	for _, c := range []struct {
		what      string
		prototype any
		want      string
	}{
		{"a channel", &struct {
			A chan int `hcl:"a"`
		}{}, "field A: type chan int cannot be an attribute"},
		{"a list of numbers", &struct {
			A []int `hcl:"a"`
		}{}, "field A: type []int cannot be an attribute"},
		{"a list of secrets", &struct {
			A []sdk.Secret `hcl:"a"`
		}{}, "field A: type []sdk.Secret cannot be an attribute"},
		{"a map by number", &struct {
			A map[int]string `hcl:"a"`
		}{}, "cannot be an attribute"},
		{"a name with capitals", &struct {
			A string `hcl:"baseURL"`
		}{}, `"baseURL" is no name`},
		{"an empty name", &struct {
			A string `hcl:",optional"`
		}{}, `"" is no name`},
		{"an unknown option", &struct {
			A string `hcl:"a,remain"`
		}{}, `unknown option "remain"`},
		{"a name that is taken", &struct {
			A string `hcl:"a"`
			B string `hcl:"a"`
		}{}, `field B: the name "a" is taken`},
		{"a name that an embedded struct has", &struct {
			connection
			B string `hcl:"url"`
		}{}, `field B: the name "url" is taken`},
		{"a field that is not exported", &struct {
			a string `hcl:"a"`
		}{}, "field a has an hcl tag but is not exported"},
		{"a block that is a map", &struct {
			A map[string]limits `hcl:"a,block"`
		}{}, "a block must be a struct"},
		{"a label outside of a block", &struct {
			A string `hcl:"a,label"`
		}{}, "only nested blocks have labels"},
		{"a label that is a number", &struct {
			B struct {
				A int `hcl:"a,label"`
			} `hcl:"b,block"`
		}{}, "a label must be a string, not int"},
		{"a block that contains itself", &endless{}, "nested more than 8 deep"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Of(c.prototype)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func sample() *everything {
	perhaps := ""
	return &everything{
		connection: connection{URL: "https://example.com", Timeout: 1500 * time.Millisecond},
		Token:      "s3cret", Mode: "fast", Strict: true, Retries: 1 << 40, Small: -128, Ratio: 0.25,
		Registries: []string{"a", "b"},
		Labels:     map[string]string{"k": "v"},
		Renames:    map[string]map[string]string{"x": {"y": "z"}},
		Perhaps:    &perhaps,
		Limits:     limits{Most: 3},
		Queries: []query{
			{Name: "one", Group: "g", Context: "c1", Extra: map[string]string{"e": "f"}, Limits: &limits{Most: 1}},
			{Name: "two", Group: "g", Context: "c2"},
		},
		Pointers: []*limits{{Most: 5}},
		Maybe:    &connection{URL: "u"},
	}
}

var unexported = cmp.AllowUnexported(everything{})

func TestRoundTrip(t *testing.T) {
	want := sample()
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &everything{state: 7, Other: 8, Labels: map[string]string{"old": "is not merged"}}
	if err := Decode(data, got); err != nil {
		t.Fatal(err)
	}
	want.state, want.Other = 7, 8
	if d := cmp.Diff(want, got, unexported); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
}

func TestEncodeHasWhatIsRequired(t *testing.T) {
	type required struct {
		List []string          `hcl:"list"`
		Map  map[string]string `hcl:"map"`
		Text string            `hcl:"text"`
		Opt  []string          `hcl:"opt,optional"`
	}
	data, err := Encode(new(required))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(data), `{"list":[],"map":{},"text":""}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := Decode(data, new(required)); err != nil {
		t.Error(err)
	}
}

func TestDecodeKeepsWhatIsAbsent(t *testing.T) {
	want := sample()
	want.Retries, want.Limits.Most, want.URL = 9, 9, "v"
	got := sample()
	if err := Decode([]byte(`{"url": "v", "retries": 9, "limits": {"most": 9}, "labels": null, "maybe": null}`), got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, unexported); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
}

func TestDecodeMistakes(t *testing.T) {
	const good = `"url": "u", "retries": 1, "limits": {"most": 1}`
	for _, c := range []struct {
		config string
		want   map[string]string // message by field
	}{
		{`{}`, map[string]string{"url": "is required", "retries": "is required", "limits": "is required"}},
		{`{"url": null, "retries": 1, "limits": {}}`, map[string]string{"url": "is required", "limits.most": "is required"}},
		{`[]`, map[string]string{"": "the settings: must be an object"}},
		{`null`, map[string]string{"": "the settings: must be an object"}},
		{`{`, map[string]string{"": "the settings: must be an object"}},
		{`{` + good + `, "colour": 1}`, map[string]string{"colour": "there is no such setting"}},
		{`{` + good + `, "strict": "yes"}`, map[string]string{"strict": `must be true or false, not "yes"`}},
		{`{` + good + `, "mode": 7}`, map[string]string{"mode": "must be a string, not 7"}},
		{`{` + good + `, "small": 128}`, map[string]string{"small": "must be a whole number: 128 does not fit in int8"}},
		{`{` + good + `, "small": 1.5}`, map[string]string{"small": "must be a whole number, not 1.5"}},
		{`{` + good + `, "ratio": "x"}`, map[string]string{"ratio": `must be a number, not "x"`}},
		{`{` + good + `, "timeout": "soon"}`, map[string]string{"timeout": `must be a duration such as "30s": time: invalid duration "soon"`}},
		{`{` + good + `, "timeout": 30}`, map[string]string{"timeout": `must be a duration such as "30s", not 30`}},
		{`{` + good + `, "registries": "a"}`, map[string]string{"registries": `must be a list of strings, not "a"`}},
		{`{` + good + `, "registries": ["a", null]}`, map[string]string{"registries": "must be a list of strings: an element is null"}},
		{`{` + good + `, "labels": {"a": null}}`, map[string]string{"labels": "must be a map of strings: an element is null"}},
		{`{` + good + `, "renames": {"a": {"b": null}}}`, map[string]string{"renames": "must be a map of maps of strings: an element is null"}},
		{`{` + good + `, "token": {"hunter2": 1}}`, map[string]string{"token": "must be a string"}},
		{`{` + good + `, "query": {}}`, map[string]string{"query": "must be a list of blocks"}},
		{`{` + good + `, "maybe": []}`, map[string]string{"maybe": "must be an object"}},
		{`{` + good + `, "query": [{"name": "n", "group": "g", "context": "c"}, {"name": "n", "context": 7, "limits": {"most": "many"}}]}`, map[string]string{
			"query[1].group": "is required", "query[1].context": "must be a string, not 7", "query[1].limits.most": `must be a whole number, not "many"`,
		}},
		{`{` + good + `, "mode": ["` + strings.Repeat("long", 100) + `"]}`, map[string]string{"mode": `must be a string, not ["` + strings.Repeat("long", 9) + `lo…`}},
	} {
		t.Run(c.config[:min(len(c.config), 80)], func(t *testing.T) {
			got, want := sample(), sample()
			err := Decode([]byte(c.config), got)
			messages := make(map[string]string)
			for _, e := range leaves(err) {
				if e.Code != sdk.Invalid {
					t.Errorf("code %s", e.Code)
				}
				messages[e.Field] = strings.TrimPrefix(e.Message, e.Field+": ")
			}
			if d := cmp.Diff(c.want, messages); d != "" {
				t.Errorf("mistakes (-want +got):\n%s", d)
			}
			if d := cmp.Diff(want, got, unexported); d != "" {
				t.Errorf("the settings were changed (-want +got):\n%s", d)
			}
		})
	}
}

func leaves(err error) []*sdk.Error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*sdk.Error
		for _, e := range joined.Unwrap() {
			all = append(all, leaves(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return []*sdk.Error{e}
	}
	return nil
}

func TestDecodeIntoNothing(t *testing.T) {
	for _, v := range []any{nil, 7, func() {}} {
		if err := Decode(nil, v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
		if err := Decode([]byte(`{"a": 1}`), v); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("%T: got %v, want an invalid setting", v, err)
		}
	}
}

func TestCopy(t *testing.T) {
	prototype := sample()
	c := Copy(prototype).(*everything)
	if d := cmp.Diff(prototype, c, unexported); d != "" {
		t.Errorf("copy (-want +got):\n%s", d)
	}
	c.Mode = "other"
	if prototype.Mode == c.Mode {
		t.Error("the copy is the prototype")
	}
}

func FuzzDecode(f *testing.F) {
	data, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(data))
	f.Add([]byte(`{"query": [null]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		v := new(everything)
		if Decode(config, v) != nil {
			if !reflect.DeepEqual(v, new(everything)) {
				t.Error("a mistake changed the settings")
			}
			return
		}
		again, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		w := new(everything)
		if err := Decode(again, w); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		third, _ := Encode(w)
		if !json.Valid(third) || string(third) != string(again) {
			t.Error(fmt.Sprintf("settings changed on the way:\n%s\n%s", again, third))
		}
	})
}
