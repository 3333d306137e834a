package yamledit

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// at returns the node that a path of keys and indices leads to.
func at(t *testing.T, d *Document, path ...any) *yaml.Node {
	t.Helper()
	n := d.Root()
	for _, step := range path {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		switch step := step.(type) {
		case int:
			next = n.Content[step]
		case string:
			for i := 0; i < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next = n.Content[i+1]
				}
			}
		}
		if next == nil {
			t.Fatalf("no %v in %v", step, path)
		}
		n = next
	}
	return n
}

func parse(t *testing.T, src string) *Document {
	t.Helper()
	d, err := Parse([]byte(src))
	if err != nil {
		t.Fatalf("parse %q: %v", src, err)
	}
	return d
}

func apply(t *testing.T, d *Document) string {
	t.Helper()
	if err := d.Apply(); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return string(d.Bytes())
}

func TestSetKeepsEveryOtherByte(t *testing.T) {
	tests := map[string]struct{ before, text, after string }{
		"plain":                    {"k: a.b/c:1\n", "d.e/f:2", "k: d.e/f:2\n"},
		"plain with a comment":     {"k:   a # why\nz: 1\n", "b", "k:   b # why\nz: 1\n"},
		"plain over two lines":     {"k: a\n  b\nz: 1\n", "c", "k: c\nz: 1\n"},
		"plain without a newline":  {"k: a", "b", "k: b"},
		"plain that needs quotes":  {"k: a\n", "b: #c", "k: \"b: #c\"\n"},
		"plain that is a number":   {"k: a\n", "1.5", "k: \"1.5\"\n"},
		"digits with a slash":      {"k: a\n", "127.0.0.1:5000/a:1", "k: 127.0.0.1:5000/a:1\n"},
		"digits with a colon":      {"k: a\n", "1:30", "k: \"1:30\"\n"},
		"a word of YAML 1.1":       {"k: a\n", "Yes", "k: \"Yes\"\n"},
		"a number becomes text":    {"k: 12\n", "b", "k: b\n"},
		"single quotes":            {"k: 'a'\n", "it's", "k: 'it''s'\n"},
		"single quotes, no escape": {"k: 'a'\n", "b\nc", "k: \"b\\nc\"\n"},
		"double quotes":            {"k: \"a\\x41\"\n", "b\"\\\n", "k: \"b\\\"\\\\\\n\"\n"},
		"double quotes, spaces":    {"k: \"a\"\n", " b ", "k: \" b \"\n"},
		"literal":                  {"k: |\n  a\nz: 1\n", "b", "k: b\nz: 1\n"},
		"literal, stripped":        {"k: |-  # why\n  a\nz: 1\n", "b c", "k: |-  # why\n  b c\nz: 1\n"},
		"folded, stripped":         {"k: >-\n  a.b/c@sha256:1\n\nz: 1\n", "b", "k: >-\n  b\n\nz: 1\n"},
		"literal with a comment":   {"k: |- # why\n  a\n\n  b\nz: 1\n", "b\nc", "k: \"b\\nc\" # why\nz: 1\n"},
		"anchored":                 {"k: &x a\nz: *x\n", "b", "k: &x b\nz: *x\n"},
		"tagged as text":           {"k: !!str 12\n", "b", "k: !!str b\n"},
		"tagged as a number":       {"k: &x !!int 12\nz: *x\n", "b", "k: &x b\nz: *x\n"},
		"flow":                     {"{k: a, z: [1]}\n", "b", "{k: b, z: [1]}\n"},
		"flow that needs quotes":   {"{k: a, z: [1]}\n", "b,c", "{k: \"b,c\", z: [1]}\n"},
		"windows line ends":        {"k: a\r\nz: 1\r\n", "b", "k: b\r\nz: 1\r\n"},
		"a byte order mark":        {"\ufeffk: a\n", "b", "\ufeffk: b\n"},
		"wide characters before":   {"{é: 😀, k: a}\n", "b", "{é: 😀, k: b}\n"},
		"unusual line breaks":      {"y: \"a\u2028b\u0085c\"\nk: a\n", "b", "y: \"a\u2028b\u0085c\"\nk: b\n"},
		"JSON":                     {"{\"y\": \"\\ud83d\\ude00 \\/\",\n\t\"k\": \"a\"}\n", "a/b", "{\"y\": \"\\ud83d\\ude00 \\/\",\n\t\"k\": \"a/b\"}\n"},
		"JSON, not text":           {"{\"k\": 12}", "b", "{\"k\": \"b\"}"},
		"directives and end marks": {"%YAML 1.1\n---\nk: a\n...\n", "b", "%YAML 1.1\n---\nk: b\n...\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := parse(t, test.before)
			if err := d.Set(at(t, d, "k"), test.text); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.after, apply(t, d)); diff != "" {
				t.Error(diff)
			}
			if got := at(t, d, "k").Value; got != test.text {
				t.Errorf("reads as %q, want %q", got, test.text)
			}
		})
	}
}

// Every occurrence of "x1" in the value is replaced by "yy:22".
func TestReplaceKeepsTheRestOfAValue(t *testing.T) {
	tests := map[string]struct{ before, after string }{
		"plain":               {"k: a x1, b\n", "k: a yy:22, b\n"},
		"plain over lines":    {"k: a\n   x1\n\n   b x1\nz: 1\n", "k: a\n   yy:22\n\n   b yy:22\nz: 1\n"},
		"plain, flow":         {"{k: a x1}\n", "{k: a yy:22}\n"},
		"single quotes":       {"k: 'it''s x1\n\n  and  x1  '\n", "k: 'it''s yy:22\n\n  and  yy:22  '\n"},
		"double quotes":       {"k: \"\\u00e9 \\\"x1\\\" \\\n   \\ x1\\n\"\n", "k: \"\\u00e9 \\\"yy:22\\\" \\\n   \\ yy:22\\n\"\n"},
		"written as escapes":  {"k: \"a \\x78\\u0031 b\"\n", "k: \"a yy:22 b\"\n"},
		"split by a line end": {"k: \"a x\\\n     1 b\"\n", "k: \"a yy:22 b\"\n"},
		"literal": {
			"k: |\n    {\n      \"a\": \"x1\"\n    }\n\n    x1\nz: 1\n",
			"k: |\n    {\n      \"a\": \"yy:22\"\n    }\n\n    yy:22\nz: 1\n",
		},
		"literal, kept":           {"k: |+\n  x1\n\n\nz: 1\n", "k: |+\n  yy:22\n\n\nz: 1\n"},
		"literal, digit":          {"o:\n  k: |2-\n      x1\n     b\nz: 1\n", "o:\n  k: |2-\n      yy:22\n     b\nz: 1\n"},
		"literal, end of file":    {"k: |\n  x1", "k: |\n  yy:22"},
		"literal, windows":        {"k: |\r\n  a\r\n  x1\r\n", "k: |\r\n  a\r\n  yy:22\r\n"},
		"folded":                  {"k: >\n  a\n  x1\n\n    more x1\n   b\n  x1\nz: 1\n", "k: >\n  a\n  yy:22\n\n    more yy:22\n   b\n  yy:22\nz: 1\n"},
		"in a sequence":           {"k:\n- a\n- b x1 # c\n", "k:\n- a\n- b yy:22 # c\n"},
		"in a compact mapping":    {"- k: 'x1'\n  z: 1\n", "- k: 'yy:22'\n  z: 1\n"},
		"in an indented sequence": {"k:\n  -   - x1\n      - x1\n", "k:\n  -   - yy:22\n      - yy:22\n"},
		"JSON":                    {`{"k": "a\/x1\ud83d\ude00x1\ud83d"}`, `{"k": "a\/yy:22\ud83d\ude00yy:22\ud83d"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := parse(t, test.before)
			want := 0
			eachScalar(d.Root(), func(n *yaml.Node) {
				var parts []Part
				for from := 0; ; {
					i := strings.Index(n.Value[from:], "x1")
					if i < 0 {
						break
					}
					parts = append(parts, Part{from + i, from + i + 2, "yy:22"})
					from += i + 2
					want++
				}
				if len(parts) > 0 {
					if err := d.Replace(n, parts); err != nil {
						t.Fatal(err)
					}
				}
			})
			if diff := cmp.Diff(test.after, apply(t, d)); diff != "" {
				t.Error(diff)
			}
			got := 0
			eachScalar(d.Root(), func(n *yaml.Node) { got += strings.Count(n.Value, "yy:22") })
			if got != want || want == 0 {
				t.Errorf("%d replaced, want %d", got, want)
			}
		})
	}
}

func eachScalar(n *yaml.Node, visit func(*yaml.Node)) {
	if n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode {
		visit(n)
	}
	for _, child := range n.Content {
		eachScalar(child, visit)
	}
}

func TestPutAddsAtTheEndOfAMapping(t *testing.T) {
	images := List(Map(Pair{"name", Text("a")}, Pair{"image", Text("q.io/a:1")}), Map(Pair{"name", Text("1")}))
	tests := map[string]struct {
		before string
		path   []any
		pairs  []Pair
		after  string
	}{
		"block": {
			"s:\n  a: 1 # one\n  # after\nz: 2\n", []any{"s"}, []Pair{{"images", images}},
			"s:\n  a: 1 # one\n  images:\n  - name: a\n    image: q.io/a:1\n  - name: \"1\"\n  # after\nz: 2\n",
		},
		"block without a last newline": {
			"s:\n  a: 1", []any{"s"}, []Pair{{"b", Text("x")}, {"c", Text("y: z")}},
			"s:\n  a: 1\n  b: x\n  c: \"y: z\"",
		},
		"after a literal": {
			"s:\n  a: |\n    x\n\nz: 2\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"s:\n  a: |\n    x\n  b: x\n\nz: 2\n",
		},
		"after a literal that keeps its end": {
			"s:\n  a: |+\n    x\n\nz: 2\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"s:\n  a: |+\n    x\n\n  b: x\nz: 2\n",
		},
		"before a literal without a last newline": {
			"s:\n  a: |\n    x", []any{"s"}, []Pair{{"b", Text("x")}, {"c", Text("z")}},
			"s:\n  b: x\n  c: z\n  a: |\n    x",
		},
		"under an anchor of the first key": {
			"s:\n  &x a: 1\nz: *x\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"s:\n  &x a: 1\n  b: x\nz: *x\n",
		},
		"after nothing": {
			"s:\n  a:\nz: 2\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"s:\n  a:\n  b: x\nz: 2\n",
		},
		"after a sequence": {
			"s:\n  a:\n  - 1\n  -\nz: 2\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"s:\n  a:\n  - 1\n  -\n  b: x\nz: 2\n",
		},
		"after a flow collection": {
			"s:\n  a: {b: [1,\n   2, ], c: } # c\nz: 2\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"s:\n  a: {b: [1,\n   2, ], c: } # c\n  b: x\nz: 2\n",
		},
		"after an alias": {
			"y: &x 1\ns:\n  a: *x\nz: 2\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"y: &x 1\ns:\n  a: *x\n  b: x\nz: 2\n",
		},
		"in a compact mapping": {
			"- a: 1\n- b: 2\n", []any{0}, []Pair{{"c", Text("x")}},
			"- a: 1\n  c: x\n- b: 2\n",
		},
		"under an anchor": {
			"s: &x\n   a: 1\nz: *x\n", []any{"s"}, []Pair{{"c", Text("x")}},
			"s: &x\n   a: 1\n   c: x\nz: *x\n",
		},
		"windows line ends": {
			"s:\r\n  a: 1\r\nz: 2\r\n", []any{"s"}, []Pair{{"c", Text("x")}},
			"s:\r\n  a: 1\r\n  c: x\r\nz: 2\r\n",
		},
		"flow": {
			"{s: {a: 1 }}\n", []any{"s"}, []Pair{{"b", Text("x")}},
			"{s: {a: 1, \"b\": x }}\n",
		},
		"empty flow": {
			"s: { }\n", []any{"s"}, []Pair{{"b", Text("x")}, {"c", Text("z")}},
			"s: {\"b\": x, \"c\": z }\n",
		},
		"JSON": {
			"{\n  \"s\": {\n    \"a\": {}\n  }\n}\n", []any{"s"}, []Pair{{"images", images}},
			"{\n  \"s\": {\n    \"a\": {},\n    \"images\": [{\"name\": \"a\", \"image\": \"q.io/a:1\"}, {\"name\": \"1\"}]\n  }\n}\n",
		},
		"over a value": {
			"s: {a: 1}\n", []any{"s"}, []Pair{{"a", Text("x")}},
			"s: {a: x}\n",
		},
		"over nothing": {
			"s:\n  a: # why\n  b: 1\n", []any{"s"}, []Pair{{"a", Map(Pair{"c", Text("x")})}},
			"s:\n  a:\n    c: x # why\n  b: 1\n",
		},
		"over nothing, flow": {
			"{s: {a, b: 1}}\n", []any{"s"}, []Pair{{"a", Text("x")}},
			"{s: {a: x, b: 1}}\n",
		},
		"over an empty sequence": {
			"s:\n  a: [] # why\n  b: 1\n", []any{"s"}, []Pair{{"a", images}, {"c", Text("x")}},
			"s:\n  a:\n  - name: a\n    image: q.io/a:1\n  - name: \"1\" # why\n  b: 1\n  c: x\n",
		},
		"over null, JSON": {
			"{\"s\": null}", nil, []Pair{{"s", Map(Pair{"c", Text("x")})}},
			"{\"s\": {\"c\": \"x\"}}",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := parse(t, test.before)
			if err := d.Put(at(t, d, test.path...), test.pairs...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.after, apply(t, d)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesWhatNoManifestHas(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	tests := map[string]struct{ src, want string }{
		"a key twice":                    {"a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", `line 5: key "c" is already on line 3`},
		"a key twice, JSON":              {"{\"a\": 1,\n\"a\": 2}", `line 2: key "a" is already on line 1`},
		"two documents":                  {"a: 1\n---\nb: 2\n", "line 3: a second document begins; a file holds one object"},
		"an alias of its parent":         {"a: &x\n  b: *x\n", `line 2: alias "x" lies within what it stands for`},
		"an alias bomb":                  {bomb.String(), `line 6: alias "a4": the document's aliases stand for more than 1048576 values`},
		"too many values":                {"[" + strings.Repeat("1,", maxMarks) + "1]", "more than 500000 lines, commas and brackets"},
		"deep nesting":                   {strings.Repeat("[", 600) + strings.Repeat("]", 600), "line 1: nested deeper than 500 levels"},
		"deep nesting, JSON":             {`{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + "}", "line 1: nested deeper than 500 levels"},
		"an unknown alias":               {"a: *x\n", "not YAML: unknown anchor 'x' referenced"},
		"a quote that does not end":      {"a: 'x\n", "not YAML: line 2: found unexpected end of stream"},
		"text in another encoding":       {"a: \xe9\n", "the text is not UTF-8"},
		"a tab for indentation":          {"a:\n\tb: 1\n", "not YAML: line 2: found character that cannot start any token"},
		"a second document with a fault": {"a: 1\n---\nb: '", "not YAML: line 3: found unexpected end of stream"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.src))
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseAcceptsWhatIsHarmless(t *testing.T) {
	for name, src := range map[string]string{
		"nothing":                  "",
		"only a comment":           "# nothing\n",
		"a separator at the end":   "a: 1\n---\n",
		"merge keys twice":         "a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x\n",
		"text and number as keys":  "1: a\n\"1\": b\n",
		"an alias used many times": "a: &x [1, 2]\nb: [" + strings.Repeat("*x, ", 1000) + "]\n",
	} {
		t.Run(name, func(t *testing.T) { parse(t, src) })
	}
}

func TestApplyLeavesTheDocumentWhenAChangeCannotBeMade(t *testing.T) {
	const src = "a: &x\n  b: 1\nc: *x\nd: e\n"
	d := parse(t, src)
	// With the anchor goes what the alias stands for.
	if err := d.Put(d.Root(), Pair{"a", Map(Pair{"z", Text("x")})}); err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(); err == nil {
		t.Fatalf("applied: %s", d.Bytes())
	}
	if !bytes.Equal(d.Bytes(), []byte(src)) {
		t.Errorf("changed to %s", d.Bytes())
	}
	if err := d.Set(at(t, d, "d"), "f"); err != nil {
		t.Fatal(err)
	}
	if got, want := apply(t, d), strings.Replace(src, "e\n", "f\n", 1); got != want {
		t.Errorf("after another change: %q, want %q", got, want)
	}
}

func TestAScalarIsChangedOnceBeforeApply(t *testing.T) {
	d := parse(t, "a: b\n")
	if err := d.Set(at(t, d, "a"), "c"); err != nil {
		t.Fatal(err)
	}
	if err := d.Set(at(t, d, "a"), "d"); err == nil {
		t.Error("a second change was taken")
	}
}
