package core_test

import (
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func TestEveryTransition(t *testing.T) {
	allowed := map[[2]core.State]bool{
		{core.InProgress, core.InProgress}: true,
		{core.InProgress, core.Complete}:   true,
		{core.InProgress, core.Failed}:     true,
		{core.Complete, core.Complete}:     true,
		{core.Failed, core.Failed}:         true,
	}
	for _, from := range core.States {
		for _, to := range core.States {
			t.Run(string(from)+" to "+string(to), func(t *testing.T) {
				err := core.CheckTransition(from, to)
				if allowed[[2]core.State{from, to}] {
					if err != nil {
						t.Fatalf("refused: %v", err)
					}
					return
				}
				if sdk.CodeOf(err) != sdk.Conflict || sdk.ReasonOf(err) != core.ReasonFinal {
					t.Fatalf("got %v, want a Conflict with the reason %s", err, core.ReasonFinal)
				}
			})
		}
	}
}

func TestAnUnknownStateIsInvalid(t *testing.T) {
	for _, state := range []core.State{"", "Complete", "done"} {
		if err := core.CheckTransition(core.InProgress, state); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("state %q: got %v, want Invalid", state, err)
		}
	}
}

func TestBatchState(t *testing.T) {
	const p, c, f = core.InProgress, core.Complete, core.Failed
	for _, test := range []struct {
		name    string
		members []core.State
		want    core.State
	}{
		{"all complete", []core.State{c, c}, c},
		{"one failed", []core.State{c, f, c}, f},
		{"one in progress beside a failed one", []core.State{f, p}, p},
		{"one in progress", []core.State{c, p}, p},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := core.BatchState(test.members); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
