package engine

import (
	"strings"
	"testing"

	"github.com/iib-engine/iib/core"
)

func TestMoversOfAnIndex(t *testing.T) {
	// Newest first: each move says what it found and what it made.
	moves := []core.TagMove{
		{From: "c", To: "d", Request: 14},
		{From: "b", To: "c", User: "jane", Kind: core.MoveRestore},
		{From: "a", To: "b", Request: 12},
		{From: "x", To: "a", Request: 3},
	}
	for name, c := range map[string]struct{ base, now, want string }{
		"one request":                            {"c", "d", "request 14"},
		"a request and a user":                   {"b", "d", "request 14 and jane"},
		"all since the base, and none before it": {"a", "d", "request 14, jane and request 12"},
		"somebody after the last move":           {"d", "e", "another client of the registry"},
		"somebody before the first move":         {"nothing", "d", "request 14, jane, request 12, request 3 and another client of the registry"},
		"somebody between two moves":             {"a", "c", "another client of the registry"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := listed(moversOf(moves, c.base, c.now)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("many requests", func(t *testing.T) {
		var names []string
		for i := range 8 {
			names = append(names, strings.Repeat("x", i+1))
		}
		if got, want := listed(names), "x, xx, xxx, xxxx, xxxxx and 3 others"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
