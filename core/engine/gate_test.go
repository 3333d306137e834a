package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

type gateFunc func() (sdk.Verdict, error)

func (f gateFunc) Check(context.Context, *sdk.GateRequest) (sdk.Verdict, error) { return f() }

func TestAGateIsAskedBeforeItCounts(t *testing.T) {
	for _, test := range []struct {
		name  string
		gate  gateFunc
		state core.State
		want  string
	}{
		{"a pass", func() (sdk.Verdict, error) { return sdk.Allow, nil }, core.Complete, ""},
		{"a denial is a readable answer", func() (sdk.Verdict, error) { return sdk.Deny("test X is missing: run it"), nil },
			core.Failed, "Gate policy denied the request: test X is missing: run it."},
		{"an error is neither", func() (sdk.Verdict, error) { return sdk.Allow, errors.New("crash") },
			core.Failed, "Gate policy could not decide: crash."},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(ctx context.Context, job *sdk.Job) error { return job.Gate(ctx, nil) })
			w.lineup.GateList = []core.Gate{{Plugin: "policy", Gate: test.gate}}
			r := w.submit(`{}`)
			w.Run(t.Context(), r.ID)
			w.wantState(r.ID, test.state, test.want)
		})
	}
}

func TestAnUnavailableGateIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(ctx context.Context, job *sdk.Job) error { return job.Gate(ctx, nil) })
		w.lineup.GateList = []core.Gate{{Plugin: "policy", Gate: gateFunc(func() (sdk.Verdict, error) {
			if asked++; asked < 3 {
				return sdk.Verdict{}, sdk.Errorf(sdk.Unavailable, "no answer")
			}
			return sdk.Allow, nil
		})}}
		r := w.submit(`{}`)
		w.Run(t.Context(), r.ID)
		w.wantState(r.ID, core.Complete, "")
	})
}

func TestGatesAreAskedInOrderUntilOneDenies(t *testing.T) {
	var asked []string
	gate := func(name string, verdict sdk.Verdict) core.Gate {
		return core.Gate{Plugin: name, Gate: gateFunc(func() (sdk.Verdict, error) {
			asked = append(asked, name)
			return verdict, nil
		})}
	}
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error { return job.Gate(ctx, nil) })
	w.lineup.GateList = []core.Gate{
		gate("z", sdk.Allow), gate("a", sdk.Allow), gate("m", sdk.Verdict{}), gate("b", sdk.Allow),
	}
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Failed, "Gate m denied the request: it gave no reason.")
	if diff := cmp.Diff([]string{"z", "a", "m"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestAnOutageOfAGateIsReportedAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(ctx context.Context, job *sdk.Job) error { return job.Gate(ctx, nil) })
		w.lineup.GateList = []core.Gate{{Plugin: "policy", Gate: gateFunc(func() (sdk.Verdict, error) {
			asked++
			return sdk.Allow, sdk.Errorf(sdk.Unavailable, "policy.example.com does not answer")
		})}}
		r := w.submit(`{}`)
		for range 5 {
			w.Run(t.Context(), r.ID)
			time.Sleep(time.Minute)
		}
		w.wantState(r.ID, core.Failed, "Gate policy could not decide: policy.example.com does not answer.")
		// Four times in each of three attempts.
		if asked != 12 {
			t.Errorf("the gate was asked %d times", asked)
		}
		for _, entry := range w.request(r.ID).History {
			if strings.Contains(entry.Reason, "denied") {
				t.Errorf("the outage is told as a denial: %s", entry.Reason)
			}
		}
	})
}

func TestADenialToTheGateIsNoDenialByIt(t *testing.T) {
	var got error
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		got = job.Gate(ctx, nil)
		return got
	})
	w.lineup.GateList = []core.Gate{{Plugin: "policy", Gate: gateFunc(func() (sdk.Verdict, error) {
		return sdk.Verdict{}, sdk.Errorf(sdk.Denied, "policy.example.com: 403 Forbidden")
	})}}
	r := w.submit(`{}`)
	w.Run(t.Context(), r.ID)
	w.wantState(r.ID, core.Failed, "Gate policy could not decide: policy.example.com: 403 Forbidden.")
	if sdk.CodeOf(got) == sdk.Denied {
		t.Errorf("got %v", got)
	}
}
