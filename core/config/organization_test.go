package config

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const offering = `plugin "add" { kind = "handler" }
plugin "many" {
  kind     = "handler"
  requests = ["rm", "merge"]
}
plugin "gate" {
  kind     = "gate"
  requests = ["add", "rm"]
}
plugin "steps" { kind = "customizer" }
plugin "own" { kind = "customizer" }
organization "o" {
  customize "suffix" {}
  customize "pin" { plugin = "own" }
  customize "suffix" {}
}
organization "*" {
  customize "pin" { plugin = "steps" }
}
`

func TestAssignFindsWhoDoesWhat(t *testing.T) {
	c := mustLoad(t, offering, nil)
	a, found := c.Assign(map[string]Offer{
		"add":   {Handlers: []string{"add"}},
		"many":  {Handlers: []string{"add", "rm", "merge"}},
		"steps": {Customizers: []string{"suffix", "pin"}},
		"own":   {Customizers: []string{"pin"}},
	})
	if len(found) > 0 {
		t.Fatal(found)
	}
	if diff := cmp.Diff(map[string]string{"add": "add", "rm": "many", "merge": "many"}, a.Handlers); diff != "" {
		t.Errorf("handlers differ (-want +got):\n%s", diff)
	}
	var steps []string
	for _, s := range c.Organization("o").Steps {
		steps = append(steps, a.Steps[s])
	}
	if diff := cmp.Diff([]string{"steps", "own", "steps"}, steps); diff != "" {
		t.Errorf("steps differ (-want +got):\n%s", diff)
	}
	if got := c.Organization("unknown"); got == nil || got.Name != OtherOrganizations {
		t.Errorf("an unknown organization has %+v", got)
	}
	if got := c.Organization(""); got == nil || a.Steps[got.Steps[0]] != "steps" {
		t.Errorf("no organization has %+v", got)
	}
	if mustLoad(t, "", nil).Organization("o") != nil {
		t.Error("there is an organization in an empty file")
	}
}

func TestAssignReportsWhatNobodyOrTwoCanDo(t *testing.T) {
	c := mustLoad(t, offering, nil)
	for name, test := range map[string]struct {
		offers map[string]Offer
		want   []string
	}{
		"plugins that offer other things": {
			offers: map[string]Offer{
				"add": {Handlers: []string{"ad"}}, "many": {Handlers: []string{"rm"}},
				"steps": {Customizers: []string{"suffxi"}}, "own": {Customizers: []string{"pni"}},
			},
			want: []string{
				`4:21 Unknown request type`, // many does not handle merge
				`8:15 Unknown request type`, // nobody handles add
				`13:13 Unknown customization`, `14:13 Unknown customization`, `15:13 Unknown customization`, `18:13 Unknown customization`,
			},
		},
		"two plugins that offer the same": {
			offers: map[string]Offer{
				"add": {Handlers: []string{"add", "rm"}}, "many": {Handlers: []string{"rm", "merge"}},
				"steps": {Customizers: []string{"suffix", "pin"}}, "own": {Customizers: []string{"suffix", "pin"}},
			},
			want: []string{`2:1 Ambiguous request type`, `13:13 Ambiguous customization`, `15:13 Ambiguous customization`},
		},
		"plugins that did not answer": {},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := c.Assign(test.offers)
			var got []string
			for _, d := range found {
				got = append(got, fmt.Sprintf("%d:%d %s", d.Range.Line, d.Range.Column, d.Summary))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings differ (-want +got):\n%s\n%v", diff, found)
			}
		})
	}
}
