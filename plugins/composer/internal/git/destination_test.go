package git

import "testing"

func TestDestination(t *testing.T) {
	for repo, want := range map[string]string{
		"https://example.org/a":           "http:https",
		"http://example.org/a":            "http:https",
		"file:///srv/a":                   "file",
		"/srv/a":                          "file",
		"./a:b":                           "file",
		"git://example.org/a":             "git example.org 9418",
		"git://example.org:1234/a":        "git example.org 1234",
		"ssh://git@example.org/a":         "ssh example.org 22",
		"ssh://git@[2001:db8::1]:2222/~/": "ssh 2001:db8::1 2222",
		"git+ssh://example.org/a":         "ssh example.org 22",
		"git@example.org:a/b":             "ssh example.org 22",
		"example.org:/a":                  "ssh example.org 22",

		"ftp://example.org/a":           "",
		"ext::sh -c id":                 "",
		"ssh://-oProxyCommand=id/a":     "",
		"ssh://a;id/b":                  "",
		"a'b:c":                         "",
		"$(id):c":                       "",
		"-x:c":                          "",
		":c":                            "",
		"ssh://[fe80::1%25eth0]/a":      "",
		"ssh://example.org:123456789/a": "",
		"git:///a":                      "",
	} {
		protocols, host, port, err := destination(repo)
		got := protocols
		if host != "" {
			got += " " + host + " " + port
		}
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: got %q (%v), want %q", repo, got, err, want)
		}
	}
}
