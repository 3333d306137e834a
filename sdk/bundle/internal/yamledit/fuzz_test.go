package yamledit

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"go.yaml.in/yaml/v3"
)

// seeds have the shapes that cluster service versions are written in.
var seeds = []string{
	"# c\nkind: ClusterServiceVersion\nmetadata:\n  annotations:\n    alm-examples: |-\n      [\n        {\"a\": \"q.io/a:1\"}\n      ]\n    containerImage: 'q.io/a:1'\nspec:\n  relatedImages: []\n  x: >-\n    q.io/a:1\n    b\n",
	"apiVersion: v1\nmetadata:\n  annotations:\n    alm-examples: \"[\\n  {\\n    \\\"a\\\": \\\"q.io/a:1\\\",\\\n      \\ \\\"b\\\": \\\"\\u00e9\\\"\\n  }\\n]\"\n    description: a b c\n      d q.io/a:1\n\n      e\n",
	"{\n\t\"kind\": \"ClusterServiceVersion\",\n\t\"spec\": {\"a\": [1, true, null, \"q.io\\/a:1 \\ud83d\\ude00\"], \"b\": {}}\n}\n",
	"spec:\n  install:\n    spec:\n      deployments:\n      - name: a\n        spec: &s\n          template:\n            spec:\n              containers:\n              - image: \"q.io/a:1\" # why\n                env:\n                - {name: RELATED_IMAGE_A, value: q.io/a:1}\n                -   name: B\n                    value:\n      - name: b\n        spec: *s\n",
	"a: |2+\n    b\n   c\n\n\n? d\n: >\n  e\n\n   f\n  g\n? h\n--- # next\n",
	"\ufeffa: 'it''s\n\n  b'\r\nc: !!str 1\rd: ! x\n\"e\": &x !y z\u2028f: *x\n",
	"- [a, b: c, {d, e: , 'f': g}, [], ]\n- - h\n  -\n- k:\n  - l\n",
}

// tabbed finds lines that begin with a tab. The parser lets them follow an
// unquoted scalar and nothing else, so that a change to the scalar may have to
// be refused.
var tabbed = regexp.MustCompile(`(?:^|[\n\r\x{85}\x{2028}\x{2029}]) *\t`)

// alone tells that a block scalar's header begins a line. The parser takes such
// a line at any indentation, but only a block scalar there, so that a change
// that needs quotes may have to be refused.
func alone(src string, t token) bool {
	before := strings.TrimRight(src[:t.start], " ")
	_, width := utf8.DecodeLastRuneInString(before)
	broken, _ := lineBreak([]byte(before[len(before)-width:]))
	return t.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && (before == "" || broken > 0)
}

// realCSVs returns some of the CSVs in the archive that IIB_REAL_BUNDLES names,
// small ones so that the fuzzer gets somewhere, and none without it.
func realCSVs(f *testing.F) (csvs []string) {
	archive := os.Getenv("IIB_REAL_BUNDLES")
	if archive == "" {
		return nil
	}
	file, err := os.Open(archive)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	dec, err := zstd.NewReader(file, zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		f.Fatal(err)
	}
	defer dec.Close()
	for r := tar.NewReader(dec); len(csvs) < 20; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			f.Fatal(err)
		}
		if header.Size > 20<<10 {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			f.Fatal(err)
		}
		if bytes.Contains(data, []byte("kind: ClusterServiceVersion\n")) {
			csvs = append(csvs, string(data))
		}
	}
	return csvs
}

// FuzzEdit changes every scalar in part and adds to every mapping. Whatever
// parses can be changed, and the change shows where it was asked for and
// nowhere else: Apply compares the trees, this test compares the bytes.
func FuzzEdit(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed, 1, "q.io/b@sha256:22")
		f.Add(seed, 4, "it's: \"#1\"\n ")
	}
	for i, csv := range realCSVs(f) {
		f.Add(csv, 7*i, "q.io/b@sha256:22")
	}
	f.Fuzz(func(t *testing.T, src string, pick int, text string) {
		d, err := Parse([]byte(src))
		if err != nil || d.Root() == nil {
			return
		}
		if d.offsets == nil && tabbed.MatchString(src) {
			return
		}
		for _, c := range text {
			if c == 0xFFFD || c == 0 {
				return
			}
		}
		var scalars, mappings []*yaml.Node
		collect(d.Root(), &scalars, &mappings)
		if len(scalars) > 0 {
			n := scalars[abs(pick)%len(scalars)]
			start, _ := d.offset(n)
			token, err := d.locate(n)
			if err != nil {
				t.Fatalf("locate in %q: %v", src, err)
			}
			from := abs(pick) % (len(n.Value) + 1)
			to := from + (len(n.Value)-from)/2
			for from > 0 && from < len(n.Value) && n.Value[from]&0xC0 == 0x80 {
				from--
			}
			for to < len(n.Value) && n.Value[to]&0xC0 == 0x80 {
				to++
			}
			if err := d.Replace(n, []Part{{from, to, text}}); err != nil {
				t.Fatalf("replace in %q, line %d: %v", src, n.Line, err)
			}
			if err := d.Apply(); err != nil && alone(src, token) {
				return
			} else if err != nil {
				t.Fatalf("apply to %q, line %d: %v", src, n.Line, err)
			}
			if after := string(d.Bytes()); !strings.HasPrefix(after, src[:start]) || !strings.HasSuffix(after, src[token.end:]) {
				t.Fatalf("%q became %q: more than the value at %d to %d changed", src, after, start, token.end)
			}
		}
		before := string(d.Bytes())
		mappings = nil
		collect(d.Root(), new([]*yaml.Node), &mappings)
		if len(mappings) == 0 {
			return
		}
		m := mappings[abs(pick)%len(mappings)]
		if has(m, "new key") || !canPut(d, m) {
			return
		}
		if err := d.Put(m, Pair{"new key", List(Map(Pair{"a", Text(text)}))}); err != nil {
			t.Fatalf("put in %q, line %d: %v", before, m.Line, err)
		}
		if err := d.Apply(); err != nil && m.Style&yaml.FlowStyle != 0 && d.offsets == nil {
			// What may stand before a comma in braces has too many exceptions.
			if string(d.Bytes()) != before {
				t.Fatalf("%q was refused and became %q", before, d.Bytes())
			}
			return
		} else if err != nil {
			t.Fatalf("apply to %q, line %d: %v", before, m.Line, err)
		}
		if after := string(d.Bytes()); len(after) <= len(before) || !insertion(before, after) {
			t.Fatalf("%q became %q: more than an insertion", before, after)
		}
	})
}

func abs(i int) int {
	if i < 0 {
		return -(i + 1)
	}
	return i
}

// collect lists the nodes that can be changed. A scalar of which nothing is
// written has no place to be changed at, and a key has to stay.
func collect(n *yaml.Node, scalars, mappings *[]*yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Value != "" || n.Style&quoting != 0 {
			*scalars = append(*scalars, n)
		}
	case yaml.MappingNode:
		*mappings = append(*mappings, n)
		for i := 1; i < len(n.Content); i += 2 {
			collect(n.Content[i], scalars, mappings)
		}
	case yaml.SequenceNode:
		for _, child := range n.Content {
			collect(child, scalars, mappings)
		}
	}
}

func has(m *yaml.Node, key string) bool {
	for i := 0; i < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return true
		}
	}
	return false
}

// canPut excludes the two forms that Put documents as beyond it.
func canPut(d *Document, m *yaml.Node) bool {
	if m.Style&yaml.FlowStyle == 0 {
		return true
	}
	pos, _ := d.offset(m)
	_, open := d.skipProperties(pos)
	return open < len(d.src) && d.src[open] == '{'
}

// insertion reports whether after is before with one piece added.
func insertion(before, after string) bool {
	i := 0
	for i < len(before) && before[i] == after[i] {
		i++
	}
	for ; i >= 0; i-- {
		if strings.HasSuffix(after, before[i:]) {
			return true
		}
	}
	return false
}
