package bundle

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hash = "5b0a1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeef"

// Handlers, section 6.2, parsing.
func TestPullSpecsAreTakenApartByPosition(t *testing.T) {
	tests := []struct {
		text    string
		want    PullSpec
		printed string
	}{
		{"foo", PullSpec{Repo: "foo", Tag: "latest"}, "foo:latest"},
		{"foo:latest", PullSpec{Repo: "foo", Tag: "latest"}, "foo:latest"},
		{"ns/foo:1", PullSpec{Namespace: "ns", Repo: "foo", Tag: "1"}, "ns/foo:1"},
		{"localhost/foo:1", PullSpec{Namespace: "localhost", Repo: "foo", Tag: "1"}, "localhost/foo:1"},
		{"q.io/foo", PullSpec{Registry: "q.io", Repo: "foo", Tag: "latest"}, "q.io/foo:latest"},
		{"host:5000/foo", PullSpec{Registry: "host:5000", Repo: "foo", Tag: "latest"}, "host:5000/foo:latest"},
		{"q.io/ns/foo:1", PullSpec{"q.io", "ns", "foo", "1"}, "q.io/ns/foo:1"},
		{"host/ns/foo:1", PullSpec{"host", "ns", "foo", "1"}, "host/ns/foo:1"},
		{"q.io/ns/a/b/c:1", PullSpec{"q.io", "ns", "a/b/c", "1"}, "q.io/ns/a/b/c:1"},
		{"q.io/ns/foo@sha256:" + hash, PullSpec{"q.io", "ns", "foo", "sha256:" + hash}, "q.io/ns/foo@sha256:" + hash},
		{"q.io/ns/foo:1@sha256:" + hash, PullSpec{"q.io", "ns", "foo:1", "sha256:" + hash}, "q.io/ns/foo:1@sha256:" + hash},
		{"", PullSpec{Tag: "latest"}, ":latest"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got := ParsePullSpec(test.text)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if got.String() != test.printed {
				t.Errorf("prints as %s, want %s", got, test.printed)
			}
			if again := ParsePullSpec(got.String()); again != got {
				t.Errorf("printed and parsed: %#v", again)
			}
		})
	}
}

// Handlers, section 6.4, enclose.
func TestEnclosedJoinsNamespaceAndRepository(t *testing.T) {
	tests := []struct{ spec, namespace, glue, want string }{
		{"quay.io/operator/image:v1", "company-pending", "----", "quay.io/company-pending/operator----image:v1"},
		{"quay.io/operator/image/foo/bar:v1", "operator", "----", "quay.io/operator/image----foo----bar:v1"},
		{"quay.io/operator/image:v1", "operator", "----", "quay.io/operator/image:v1"},
		{"quay.io/operator-image:v1", "company-managed", "----", "quay.io/company-managed/operator-image:v1"},
		{"quay.io/a/b@sha256:" + hash, "c", "-", "quay.io/c/a-b@sha256:" + hash},
		{"foo", "c", "-", "c/foo:latest"},
	}
	for _, test := range tests {
		t.Run(test.spec+" in "+test.namespace, func(t *testing.T) {
			if got := ParsePullSpec(test.spec).enclosed(test.namespace, test.glue).String(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// Handlers, section 6.2, heuristic.
func TestGuessTellsPullSpecsFromOtherText(t *testing.T) {
	digest := "@sha256:" + hash
	tests := []struct {
		text string
		want []string
	}{
		{"r.io/x:1", []string{"r.io/x:1"}},
		{"r.io/n/x" + digest, []string{"r.io/n/x" + digest}},
		{"r.io:443/n/m/o/x:v1.2-3_4", []string{"r.io:443/n/m/o/x:v1.2-3_4"}},
		{"r-1._2/n-._3/x-._4:t-._5", []string{"r-1._2/n-._3/x-._4:t-._5"}},
		{"use r.io/x:1, then <r.io/y:2>.", []string{"r.io/x:1", "r.io/y:2"}},
		{"…r.io/x:1…", []string{"r.io/x:1"}},
		{"-/r.io/x:1@:.", []string{"r.io/x:1"}},
		{`{"image":"r.io/x:1","other":"r.io/y` + digest + `"}`, []string{"r.io/x:1", "r.io/y" + digest}},
		{"r.io/x:1\nr.io/y:2\tr.io/z:3", []string{"r.io/x:1", "r.io/y:2", "r.io/z:3"}},
		{"half of it is 0.5/2:2", []string{"0.5/2:2"}},
		{"", nil},
		{"...", nil},
		{"r.io/x", nil},
		{"r.io/x:", nil},
		{"rio/x:1", nil},
		{"r.io:1", nil},
		{"https://a.b/c:1", nil},
		{"a.b/c", nil},
		{"https://r.io/x:1", nil},
		{"r.io//x:1", nil},
		{"r.io:port/x:1", nil},
		{"r.io:/x:1", nil},
		{"me@r.io/x:1", nil},
		{"r.io/n:1/x:1", nil},
		{"r.io/-x:1", nil},
		{"r.io/x-:1", nil},
		{"r.io-/x:1", nil},
		{"r.io/x:-1", nil},
		{"r.io/x@sha256:123", nil},
		{"r.io/x@sha256:" + strings.Repeat("g", 64), nil},
		{"r.io/x@sha256:" + hash + "0", nil},
		{"r.io/x:1@sha256:" + hash, nil},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			var got []string
			for _, part := range guess(test.text) {
				got = append(got, test.text[part[0]:part[1]])
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
