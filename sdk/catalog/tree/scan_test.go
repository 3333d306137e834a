package tree

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
)

// seen is a meta as both sides report it.
type seen struct{ Schema, Package, Name, Blob string }

// reference reads a file as opm does. A meta without schema is refused there
// too, one step later.
func reference(data []byte) ([]seen, error) {
	var list []seen
	fsys := fstest.MapFS{"catalog": &fstest.MapFile{Data: data}}
	err := declcfg.WalkMetasFS(context.Background(), fsys, func(_ string, m *declcfg.Meta, err error) error {
		if err != nil {
			return err
		}
		if m.Schema == "" {
			return io.ErrUnexpectedEOF
		}
		list = append(list, seen{m.Schema, m.Package, m.Name, string(m.Blob)})
		return nil
	}, declcfg.WithConcurrency(1))
	return list, err
}

// scanned reads a file with the scanner, and each meta with the reference.
func scanned(data []byte) ([]seen, error) {
	limits := Limits{}.withDefaults()
	found, err := scanFile(context.Background(), limits, "catalog", func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err != nil {
		return nil, err
	}
	var list []seen
	for _, it := range found.Items {
		raw := data[it.Off : it.Off+it.Len]
		if it.YAML {
			if raw, err = yamlToJSON(limits, raw); err != nil {
				return nil, err
			}
		}
		var m declcfg.Meta
		if err := m.UnmarshalJSON(raw); err != nil {
			return nil, err
		}
		list = append(list, seen{it.Schema, it.Package, it.Name, string(m.Blob)})
	}
	return list, nil
}

// corpus is what catalog files look like, well formed and not.
var corpus = map[string]string{
	"nothing":                     "",
	"white space":                 " \n\t\r\n",
	"one object":                  `{"schema":"olm.package","name":"a"}`,
	"objects without space":       `{"schema":"olm.package","name":"a"}{"schema":"olm.channel","package":"a","name":"c"}`,
	"objects with space":          "\n {\"schema\" : \"a\" }\n\n\t{\"schema\":\"b\",\"x\":[ ],\"y\":{ }}\n",
	"every kind of value":         `{"schema":"a","v":[null,true,false,0,-0,1.5e+3,-12,"\u00e9\n\"",{"k":[[]]}]}`,
	"keys in other case":          `{"SCHEMA":"a","Package":"p","nAme":"n"}`,
	"a key that folds":            "{\"ſchema\":\"a\"}",
	"an escaped key":              `{"\u0073chema":"a"}`,
	"escaped values":              `{"schema":"a\u002eb","name":"\u00fc \ud83d\ude00","package":"\/"}`,
	"invalid UTF-8":               "{\"schema\":\"a\xff\",\"name\":\"\xc3\"}",
	"the same key twice":          `{"schema":"a","schema":"b","name":"x","name":"y"}`,
	"keys that differ in case":    `{"schema":"a","Schema":"b"}`,
	"other keys that differ so":   `{"schema":"a","foo":1,"FOO":2}`,
	"a schema that is a number":   `{"schema":1}`,
	"a name that is null":         `{"schema":"a","name":null}`,
	"no schema":                   `{"name":"a"}`,
	"an empty object":             `{}`,
	"many keys":                   `{"schema":"a",` + manyKeys(100) + `}`,
	"a bare string":               `"x"`,
	"a number after an object":    `{"schema":"a"} 5`,
	"an array":                    `[{"schema":"a"}]`,
	"a trailing comma":            `{"schema":"a",}`,
	"three objects, then rubbish": `{"schema":"a"}{"schema":"b"}{"schema":"c"}rubbish`,
	"an object, then rubbish":     `{"schema":"a"}rubbish`,
	"an unfinished object":        `{"schema":"a","x":{"y":[1,`,
	"an unfinished string":        `{"schema":"a`,
	"a control character":         "{\"schema\":\"a\nb\"}",
	"a bad escape":                `{"schema":"a\x"}`,
	"a bad unicode escape":        `{"schema":"a\u12g4"}`,
	"a leading zero":              `{"schema":"a","n":012}`,
	"a lone minus":                `{"schema":"a","n":-}`,
	"a point without digits":      `{"schema":"a","n":1.}`,
	"a misspelt literal":          `{"schema":"a","n":nul}`,
	"a huge number":               `{"schema":"a","n":1e400}`,
	"a byte order mark":           "\ufeff{\"schema\":\"a\"}",
	"nested":                      `{"schema":"a","n":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}`,

	"YAML":                             "schema: olm.package\nname: a\n",
	"YAML documents":                   "---\nschema: a\nname: x\n---\nschema: b\npackage: p\n---\n",
	"YAML with a comment between":      "schema: a\n--- # second\nschema: b\n",
	"YAML with text after a separator": "schema: a\n--- text\nschema: b\n",
	"YAML with a long separator":       "schema: a\n----\nschema: b\n",
	"YAML, comment first":              "# a catalog\n---\nschema: a\n",
	"YAML, comment with it":            "# a catalog\nschema: a\n",
	"YAML, blank line first":           "\n---\nschema: a\n",
	"YAML, blank line with it":         "\n\nschema: a\n",
	"YAML ends in blank lines":         "schema: a\n\n\n",
	"YAML ends in a separator":         "schema: a\n---",
	"YAML, separators only":            "---\n---\n---",
	"YAML with CRLF":                   "schema: a\r\nname: b\r\ntext: |\r\n  one\r\n  two\r\n---\r\nschema: b\r\n",
	"YAML block without end of line":   "schema: |\n a",
	"YAML without end of line":         "schema: a\nname: b",
	"YAML with anchors":                "schema: a\nx: &x {y: 1}\nz: *x\n",
	"YAML with merge keys":             "schema: a\nx: &x {y: 1}\nz:\n  <<: *x\n  w: 2\n",
	"YAML with types":                  "schema: a\nd: 2020-01-01\nt: yes\nn: 0x1f\nf: 1e3\nnull: ~\n1: one\n",
	"YAML flow":                        "{schema: a, name: b}\n",
	"YAML flow documents":              "{schema: a, name: b}\n---\n{schema: c}\n",
	"JSON with separators":             "{\"schema\":\"a\"}\n---\n{\"schema\":\"b\"}\n---\n{\"schema\":\"c\"}\n",
	"JSON, separator after two":        "{\"schema\":\"a\"}\n{\"schema\":\"b\"}\n---\n{\"schema\":\"c\"}\n",
	"separator, then JSON":             "---\n{\"schema\":\"a\"}\n",
	"separator, then JSON objects":     "---\n{\"schema\":\"a\"}{\"schema\":\"b\"}\n",
	"YAML, a list":                     "- schema: a\n",
	"YAML, a word":                     "hello\n",
	"YAML with a tab":                  "schema: a\n\tname: b\n",
	"YAML, key twice":                  "schema: a\nschema: b\n",
	"YAML, unknown anchor":             "schema: *a\n",
	"YAML block with dashes":           "schema: a\ntext: |\n  ---\n  x\n",
	"a readme":                         "# Title\n\nSome *text* here: and there\n",
}

func manyKeys(n int) string {
	var keys []string
	for i := range n {
		keys = append(keys, `"key`+strings.Repeat("x", i)+`":1`)
	}
	return strings.Join(keys, ",")
}

func TestScanAgreesWithOpm(t *testing.T) {
	for name, text := range corpus {
		t.Run(name, func(t *testing.T) { agree(t, []byte(text)) })
	}
}

func agree(t *testing.T, data []byte) {
	t.Helper()
	want, wantErr := reference(data)
	got, gotErr := scanned(data)
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("%q: error %v, opm's %v", data, gotErr, wantErr)
	}
	if wantErr != nil {
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%q (-opm +ours):\n%s", data, d)
	}
}

func FuzzScanAgreesWithOpm(f *testing.F) {
	for _, text := range corpus {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data) })
}
