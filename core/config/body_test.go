package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everyType is a plugin's schema with a setting of each type.
var everyType = Schema{
	Attributes: []Attribute{
		{Name: "url", Type: String, Required: true},
		{Name: "strict", Type: Bool},
		{Name: "tries", Type: Int},
		{Name: "share", Type: Float},
		{Name: "wait", Type: Duration},
		{Name: "labels", Type: List},
		{Name: "map", Type: Map},
		{Name: "images", Type: MapMap},
		{Name: "token", Type: SecretString},
	},
	Blocks: []Block{
		{Name: "query", Labels: []string{"queue"}, Multiple: true, Schema: Schema{
			Attributes: []Attribute{{Name: "context", Type: String, Required: true}},
		}},
		{Name: "tls", Schema: Schema{
			Attributes: []Attribute{{Name: "ca_file", Type: String}},
			Blocks:     []Block{{Name: "key", Required: true, Schema: Schema{Attributes: []Attribute{{Name: "file", Type: String}}}}},
		}},
	},
}

func gate(config string) string {
	return "plugin \"gate\" {\n  kind = \"gate\"\n  config {\n" + config + "\n  }\n}\n"
}

func TestValuesAreJSONOfTheShapeOfTheSchema(t *testing.T) {
	c := mustLoad(t, `locals { host = "gw.example.com" }`+"\n"+gate(`
    url    = "https://${local.host}/"
    strict = "true"
    tries  = 9007199254740993
    share  = 0.1
    wait   = "1d2h"
    labels = [1, "two", true]
    map    = { a = "1", "b.c" = 2 }
    images = { prod = { "v4.16" = "scratch" }, dev = {} }
    token  = env("TOKEN")
    query "default" { context = "a" }
    query "other" { context = "b" }
    tls {
      ca_file = null
      key { file = "k" }
    }`), map[string]string{"TOKEN": "hunter2"})
	data, found := c.Plugin("gate").Values(everyType)
	if len(found) > 0 {
		t.Fatal(found)
	}
	const want = `{"url":"https://gw.example.com/","strict":true,"tries":9007199254740993,"share":0.1,"wait":"26h0m0s",
		"labels":["1","two","true"],"map":{"a":"1","b.c":"2"},"images":{"prod":{"v4.16":"scratch"},"dev":{}},"token":"hunter2",
		"query":[{"queue":"default","context":"a"},{"queue":"other","context":"b"}],"tls":{"key":{"file":"k"}}}`
	if diff := cmp.Diff(decodeJSON(t, []byte(want)), decodeJSON(t, data)); diff != "" {
		t.Errorf("values differ (-want +got):\n%s", diff)
	}
}

func decodeJSON(t *testing.T, data []byte) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

func TestAllMistakesInAPluginsSettingsAreReportedAtOnce(t *testing.T) {
	c := mustLoad(t, gate(`    strict = "maybe"
    tries  = 1.5
    share  = 1e400
    wait   = "soon"
    labels = "one"
    map    = { a = [] }
    images = { prod = "scratch" }
    token  = ["x"]
    querry "default" {}
    query { context = "a" }
    query "b" {}
    urll = "x"
    tls {}
    tls {
      key {}
    }`), nil)
	data, found := c.Plugin("gate").Values(everyType)
	if data != nil {
		t.Errorf("there are values despite errors: %s", data)
	}
	var got []string
	for _, d := range found {
		got = append(got, fmt.Sprintf("%d:%d %s", d.Range.Line, d.Range.Column, d.Summary))
	}
	want := []string{
		"3:3 Missing setting",
		"4:14 Wrong type",
		"5:14 Wrong type",
		"6:14 Value out of range",
		"7:14 Invalid duration",
		"8:14 Wrong type",
		"9:14 Wrong type",
		"10:14 Wrong type",
		"11:14 Wrong type",
		"12:5 Unknown block",
		"13:5 Wrong labels",
		"14:5 Missing setting",
		"15:5 Unknown setting",
		"16:5 Missing block",
		"17:5 Duplicate block",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings differ (-want +got):\n%s\n%v", diff, found)
	}
	for _, name := range []string{`"query"`, `"url"`, `the config block of plugin "gate"`} {
		if !strings.Contains(strings.ToLower(fmt.Sprint(found)), name) {
			t.Errorf("no finding mentions %s", name)
		}
	}
}

func TestMissingSettingsOfAnAbsentConfigBlockAreReportedAtThePlugin(t *testing.T) {
	c := mustLoad(t, "\nplugin \"gate\" { kind = \"gate\" }\n", nil)
	_, found := c.Plugin("gate").Values(everyType)
	if len(found) != 1 || found[0].Range.Line != 2 || found[0].Summary != "Missing setting" {
		t.Errorf("findings: %v", found)
	}
}

func TestTypeThatThisEngineDoesNotKnowIsAnErrorAndNoPanic(t *testing.T) {
	c := mustLoad(t, gate(`x = 1`), nil)
	_, found := c.Plugin("gate").Values(Schema{Blocks: []Block{{Name: "b", Schema: Schema{
		Attributes: []Attribute{{Name: "x", Type: "list(bool)"}},
	}}}})
	if len(found) != 1 || found[0].Summary != "Unknown setting type" {
		t.Errorf("findings: %v", found)
	}
}

func TestStepHasItsSettingsWithoutTheEnginesOwn(t *testing.T) {
	c := mustLoad(t, `
plugin "steps" { kind = "customizer" }
organization "o" {
  customize "suffix" {
    plugin = "steps"
    suffix = "-cmp"
  }
  customize "suffix" { sufix = "-x" }
}`, nil)
	steps := c.Organization("o").Steps
	schema := Schema{Attributes: []Attribute{{Name: "suffix", Type: String, Required: true}}}
	data, found := steps[0].Values(schema)
	if len(found) > 0 || string(data) != `{"suffix":"-cmp"}` {
		t.Errorf("values %s, findings %v", data, found)
	}
	_, found = steps[1].Values(schema)
	want := `Customize "suffix" has no setting "sufix". Did you mean "suffix"?`
	if len(found) != 2 || found[1].Detail != want {
		t.Errorf("findings: %v", found)
	}
}

func TestFieldOfAPluginsErrorIsFoundInTheFile(t *testing.T) {
	c := mustLoad(t, gate(`    url = "x"
    query "default" {
      context = "a"
    }
    query "other" {
      context = "b"
    }
    map = { k = "v" }`), nil)
	for field, want := range map[string]string{
		"":                      "3:3",
		"url":                   "4:11",
		"query":                 "5:5",
		"query[0].context":      "6:17",
		"query[1].context":      "9:17",
		"query[1]":              "8:5",
		"query.other.context":   "9:17",
		`query["other"].absent`: "8:5",
		"query[7].context":      "5:5",
		"map.k":                 "11:11",
		"absent":                "3:3",
		"..[]":                  "3:3",
	} {
		r := c.Plugin("gate").FieldRange(field)
		if got := fmt.Sprintf("%d:%d", r.Line, r.Column); got != want {
			t.Errorf("%q is at %s, want %s", field, got, want)
		}
	}
}

func TestPluginsOwnErrorIsADiagnosticWithoutSecrets(t *testing.T) {
	c := mustLoad(t, gate(`    url = env("SECRET")`), map[string]string{"SECRET": "hunter2"})
	d := c.Plugin("gate").Rejected("url", "hunter2 is no URL.")
	if want := `Plugin "gate" does not accept its setting "url": ***** is no URL.`; d.Detail != want {
		t.Errorf("the detail is %s, want %s", d.Detail, want)
	}
	if d.Range.Line != 4 || d.Severity != Error || d.Summary != "Invalid setting" {
		t.Errorf("the diagnostic is %+v", d)
	}
	if d := c.Plugin("gate").Rejected("", "bad mood"); d.Detail != `Plugin "gate" says: bad mood.` {
		t.Errorf("the detail is %s", d.Detail)
	}
}
