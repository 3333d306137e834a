package blueprint_test

import (
	"encoding/json"
	"testing"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
)

var seeds = []string{
	"name = \"a\"\ndescription = \"\"\nversion = \"1.0.0\"\n[[packages]]\nname = \"b\"\nversion = \"*\"\n",
	"name = 'a'\ndescription = '''\nx'''\n[customizations]\nt = 2024-01-02T03:04:05Z\nl = [[1], [{a = 1}], []]\nd = 07:32:00\n",
	"name = \"a\"\ndescription = \"\\u0000\"\n[[customizations]]\n\"a.b\".c = {d.e = 1}\n[repos]\ngit = []\n",
	`{"name":"a","description":"","customizations":{"x":[1,"a",{"b":null}],"":{}},"groups":[{"name":"g"}]}`,
	`{"name":"a","description":"","version":null,"customizations":{"x":1e400}}`,
	"a = [\"[[[[\", '[[[[', \"\\\"[\", # [[[\n]",
}

// FuzzBlueprint holds that what is accepted is the same after it was written in
// either format.
func FuzzBlueprint(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64<<10 {
			return
		}
		for name, parse := range map[string]func() (*blueprint.Blueprint, error){
			"TOML": func() (*blueprint.Blueprint, error) { return blueprint.ParseTOML(text) },
			"JSON": func() (*blueprint.Blueprint, error) { return blueprint.ParseJSON([]byte(text)) },
		} {
			b, err := parse()
			if err != nil {
				continue
			}
			again, err := blueprint.ParseTOML(b.TOML())
			if err != nil || !again.Equal(b) {
				t.Errorf("%s: written as TOML: %v\n%s", name, err, b.TOML())
			}
			if _, err := json.Marshal(b); err != nil {
				t.Errorf("%s: written as JSON: %v", name, err)
			}
			if diff := blueprint.Diff(b, again); len(diff) > 0 {
				t.Errorf("%s: %v", name, diff)
			}
		}
	})
}
