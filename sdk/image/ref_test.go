package image

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseRef(t *testing.T) {
	tests := map[string]struct {
		spec string
		want Ref
		text string // what it prints as, if not spec
	}{
		"a tag":                           {"quay.io/team/index:v4.16", Ref{"quay.io", "team/index", "v4.16", ""}, ""},
		"a digest":                        {"quay.io/team/index@" + someDigest, Ref{"quay.io", "team/index", "", someDigest}, ""},
		"a tag and a digest":              {"quay.io/team/index:v1@" + someDigest, Ref{"quay.io", "team/index", "v1", someDigest}, ""},
		"a port and no tag":               {"registry.example.com:5000/team/index", Ref{"registry.example.com:5000", "team/index", "", ""}, ""},
		"a port and a tag":                {"localhost:5000/index:v1", Ref{"localhost:5000", "index", "v1", ""}, ""},
		"a port and a digest":             {"localhost:5000/a@" + someDigest, Ref{"localhost:5000", "a", "", someDigest}, ""},
		"a mirror with a long path":       {"mirror.example.com/proxy/quay.io/team/index:v1", Ref{"mirror.example.com", "proxy/quay.io/team/index", "v1", ""}, ""},
		"an IPv6 registry":                {"[::1]:5000/team/index:v1", Ref{"[::1]:5000", "team/index", "v1", ""}, ""},
		"no registry":                     {"team/index:v1", Ref{"docker.io", "team/index", "v1", ""}, "docker.io/team/index:v1"},
		"one word, an image of Docker's":  {"busybox", Ref{"docker.io", "library/busybox", "", ""}, "docker.io/library/busybox"},
		"upper case in the tag is a name": {"quay.io/a/b:V1_x.y-Z", Ref{"quay.io", "a/b", "V1_x.y-Z", ""}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseRef(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ref (-want +got):\n%s", diff)
			}
			want := tt.text
			if want == "" {
				want = tt.spec
			}
			if got.String() != want {
				t.Errorf("prints as %q, want %q", got, want)
			}
		})
	}
}

func TestParseRefRefuses(t *testing.T) {
	tests := map[string]struct{ spec, word string }{
		"nothing":                    {"", "is empty"},
		"a transport":                {"docker://quay.io/a/b:v1", "://"},
		"white space around":         {" quay.io/a/b:v1", "white space"},
		"upper case in the path":     {"quay.io/Team/index:v1", "lower case"},
		"a short digest":             {"quay.io/a/b@sha256:abc", "not of the form"},
		"another digest algorithm":   {"quay.io/a/b@sha512:" + strings.Repeat("a", 128), "sha256"},
		"an upper-case digest":       {"quay.io/a/b@sha256:" + strings.Repeat("A", 64), ""},
		"a path out of the registry": {"quay.io/../b:v1", "not of the form"},
		"a query":                    {"quay.io/a/b:v1?x=y", "not of the form"},
		"a line break":               {"quay.io/a/b:v1\nb", "not of the form"},
		"a very long name":           {"quay.io/" + strings.Repeat("a/", 200) + "b", "255"},
		"far too long a spec":        {"quay.io/" + strings.Repeat("a", 2_000_000), "at most 1024"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRef(tt.spec)
			wantCode(t, err, sdk.Invalid, "pull spec", tt.word)
			if len(err.Error()) > 2000 {
				t.Errorf("the message has %d characters", len(err.Error()))
			}
		})
	}
}

func TestRefWith(t *testing.T) {
	ref, err := ParseRef("localhost:5000/a/b:v1@" + someDigest)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ref.WithDigest(someDigest).String(), "localhost:5000/a/b@"+someDigest; got != want {
		t.Errorf("with digest: %s, want %s", got, want)
	}
	if got, want := ref.WithTag("v2").String(), "localhost:5000/a/b:v2"; got != want {
		t.Errorf("with tag: %s, want %s", got, want)
	}
	if got, want := ref.Name(), "localhost:5000/a/b"; got != want {
		t.Errorf("name: %s, want %s", got, want)
	}
}

// FuzzParseRef holds that whatever parses prints as a spec that parses to the
// same, and cannot change the path of a request to the registry.
func FuzzParseRef(f *testing.F) {
	for _, spec := range []string{"quay.io/a/b:v1", "localhost:5000/a@" + someDigest, "a", "a/b", "[::1]:5000/x:y", "quay.io/a//b", "x/../y"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		ref, err := ParseRef(spec)
		if err != nil {
			if sdk.CodeOf(err) != sdk.Invalid {
				t.Errorf("%q: code %s", spec, sdk.CodeOf(err))
			}
			return
		}
		again, err := ParseRef(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q prints as %q, which parses to %+v, %v", spec, ref, again, err)
		}
		for _, s := range []string{ref.Registry, ref.Repository, ref.identifier()} {
			if s == "" || strings.ContainsAny(s, " ?#%\\\n") || strings.Contains(s, "..") && s == ref.Repository && strings.Contains("/"+s+"/", "/../") {
				t.Errorf("%q has the part %q", spec, s)
			}
		}
	})
}
