package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const before = `
server {
  log_level = "info"
}
queue "a" { concurrency = 1 }
queue "b" {}
user "jane" { queue = "a" }
plugin "one" { kind = "gate" }
plugin "two" {
  kind = "gate"
  config { url = env("URL") }
}
plugin "off" {
  kind    = "gate"
  enabled = false
}
plugin "steps" { kind = "customizer" }
organization "o" {
  customize "s" { x = 1 }
}
`

func TestDiffTellsWhatChanged(t *testing.T) {
	for name, test := range map[string]struct {
		old, new string
		env      map[string]string
		want     Change
	}{
		"nothing": {},
		"comments, layout and writing do not count": {
			old: `log_level = "info"`, new: "# new\n\n  log_level   = lower(\"INFO\")",
		},
		"a setting": {
			old: `log_level = "info"`, new: `log_level = "debug"`, want: Change{Settings: []string{"server.log_level"}},
		},
		"settings that need a restart": {
			old: `log_level = "info"`, new: "listen = \"127.0.0.1:1\"\ndata_dir = \"/x\"\n",
			want: Change{Restart: []string{"artifacts.dir", "database.url", "server.data_dir", "server.listen"}, Settings: []string{"secrets.key_file"}},
		},
		"a block that was not there": {
			old: `queue "a"`, new: "identity \"oidc\" {\n  issuer = \"https://h\"\n  audience = \"a\"\n}\nqueue \"a\"",
			want: Change{Settings: []string{"identity.anonymous", "identity.oidc.audience", "identity.oidc.issuer", "identity.oidc.user_claim"}},
		},
		"a queue": {
			old: "concurrency = 1", new: "concurrency = 2", want: Change{Queues: Names{Changed: []string{"a"}}},
		},
		"queues that come and go": {
			old: `queue "b"`, new: `queue "c"`, want: Change{Queues: Names{Added: []string{"c"}, Removed: []string{"b"}}},
		},
		"a user": {
			old: `user "jane" { queue = "a" }`, new: `user "jane" { overwrite_queue = "a" }`, want: Change{Users: Names{Changed: []string{"jane"}}},
		},
		"a plugin that is switched on": {
			old: "enabled = false", new: "enabled = true", want: Change{Plugins: Names{Added: []string{"off"}}},
		},
		"a plugin that is switched off": {
			old: `plugin "one" { kind = "gate" }`, new: "plugin \"one\" {\n  kind = \"gate\"\n  enabled = false\n}\n",
			want: Change{Plugins: Names{Removed: []string{"one"}}},
		},
		"a plugin that is off anyway": {
			old: "enabled = false", new: "enabled = false\ntimeout = \"1m\"",
		},
		"a secret in a plugin's settings": {
			env: map[string]string{"URL": "other"}, want: Change{Plugins: Names{Changed: []string{"two"}}},
		},
		"the order of gates": {
			old: `plugin "one" { kind = "gate" }`, new: "", want: Change{Plugins: Names{Reordered: true}},
		},
		"a step": {
			old: "x = 1", new: "x = 2", want: Change{Organizations: Names{Changed: []string{"o"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(before, test.old, test.new, 1)
			if name == "the order of gates" {
				text += test.old
			}
			env := map[string]string{"URL": "hunter2"}
			old := load(t, before, env)
			if test.env != nil {
				env = test.env
			}
			if diff := cmp.Diff(test.want, Diff(old, load(t, text, env))); diff != "" {
				t.Errorf("the change differs (-want +got):\n%s", diff)
			}
			same := old.Plugin("two").Fingerprint() == load(t, text, env).Plugin("two").Fingerprint()
			if want := test.env == nil; same != want {
				t.Errorf("the fingerprints are equal: %v, want %v", same, want)
			}
		})
	}
}

// load is mustLoad with the same path for every text.
func load(t *testing.T, text string, env map[string]string) *Config {
	t.Helper()
	r := &reporter{source: source{file: "/etc/iib/iib.hcl"}}
	c := parse(r, []byte(text), fromMap(env))
	if r.found.HasErrors() {
		t.Fatal(r.found.Err())
	}
	return c
}
