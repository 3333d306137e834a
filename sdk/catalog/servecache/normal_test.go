package servecache

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
)

var texts = []string{
	`{}`, `{"schema":"a"}`, ` { "b" : 1 , "a" : [ 1 , 2 , { } , [ ] ] } `,
	`{"b":{"z":1,"y":2},"a":{"c":null,"b":true,"a":false}}`,
	`{"a":1,"a":{"x":2},"a":3}`, `{"\u0061":1,"a":2,"b":0}`, `{"b":1,"\u0061":2}`,
	`{"n":[0,-0,1,-1,1.0,1e0,1E+2,123456789012345,1234567890123456,12345678901234567890,1e21,1e20,1e-6,1e-7,-1.5e-9,1e-10,1e100,0.1,1.7976931348623157e308,5e-324,-0.0]}`,
	`{"s":"plain"}`, `{"s":"\"\\\/\b\f\n\r\t"}`, `{"s":"\u003c\u003e\u0026<>&"}`, `{"s":"\u0000\u0001\u001f\u007f` + "\x7f" + `"}`,
	`{"s":"\u2028\u2029` + "\u2028\u2029" + `"}`, `{"s":"\ud83d\ude00\ud83d\ud83dx\ude00\ud83d\n"}`,
	"{\"s\":\"\xff\xc3\xe2\x80\"}", "{\"\xff\":1,\"\ufffd\":2}", `{"é":1,"e":2,"z":3}`,
	`{"":1}`, `{"a":"` + strings.Repeat("x", 1000) + `"}`,
}

// want is what opm makes of a text.
func want(raw []byte) ([]byte, error) {
	var m declcfg.Meta
	// Called directly, for the keys that opm wants are another matter.
	err := m.UnmarshalJSON(raw)
	return m.Blob, err
}

func TestNormalizeIsWhatOpmDoes(t *testing.T) {
	for _, text := range texts {
		normal, err := normalize(nil, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		blob, err := want([]byte(text))
		if err != nil {
			t.Errorf("%s: opm: %v", text, err)
			continue
		}
		if d := cmp.Diff(string(blob), string(normal)); d != "" {
			t.Errorf("%s (-opm +ours):\n%s", text, d)
		}
		again, err := normalize(nil, normal)
		if err != nil || string(again) != string(normal) {
			t.Errorf("%s: normalized twice: %s, error %v", text, again, err)
		}
	}
}

func FuzzNormalizeIsWhatOpmDoes(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		// On what is no object the reference itself panics.
		if !json.Valid(raw) || raw[0] != '{' {
			return
		}
		blob, err := want(raw)
		if err != nil {
			return
		}
		normal, err := normalize(nil, raw)
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if d := cmp.Diff(string(blob), string(normal)); d != "" {
			t.Errorf("%q (-opm +ours):\n%s", raw, d)
		}
	})
}
