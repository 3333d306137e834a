package sources_test

import (
	"strings"
	"testing"

	"github.com/iib-engine/iib/plugins/composer/internal/sources"
)

// FuzzSource holds that what is accepted has nothing that could be taken for a
// line of a repository's configuration, and an id that is one word.
func FuzzSource(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","type":"yum-baseurl","url":"http://h/$releasever","gpgkey_urls":["file:///k"],"proxy":"http://p:1"}`,
		"[a]\ntype = \"yum-metalink\"\nurl = \"https://h/\"\ncheck_ssl = true\n", "id = \"a\\nb\"\n", `{"id":"a","url":"file:///x y"}`,
	} {
		f.Add(seed, 1)
		f.Add(seed, 0)
	}
	f.Fuzz(func(t *testing.T, text string, version int) {
		s, err := sources.FromJSON([]byte(text), version)
		if err != nil {
			s, err = sources.FromTOML(text, version)
		}
		if err != nil {
			return
		}
		for _, value := range append(s.GPGKeyURLs, s.ID, s.URL, s.Proxy) {
			if strings.ContainsAny(value, " \t\r\n\x00") {
				t.Errorf("accepted %q", value)
			}
		}
		if s.ID == "" || strings.ContainsAny(s.ID, "/,*") || s.URL == "" || s.Type == "" {
			t.Errorf("accepted %+v", s)
		}
	})
}
