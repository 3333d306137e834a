package core

import (
	"slices"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// State is where a request stands. The API contract (section 3.8) knows three.
type State string

const (
	InProgress State = "in_progress"
	Complete   State = "complete"
	Failed     State = "failed"
)

// States are all states, in the order of a request's life.
var States = []State{InProgress, Complete, Failed}

// transitions is the state machine, whole. A final state may be repeated, so
// that its reason can be corrected; it is never left.
var transitions = map[State][]State{
	InProgress: {InProgress, Complete, Failed},
	Complete:   {Complete},
	Failed:     {Failed},
}

// Known reports whether s is one of the three states.
func (s State) Known() bool { return slices.Contains(States, s) }

// Final reports whether a request in this state has ended.
func (s State) Final() bool { return s == Complete || s == Failed }

// CheckTransition returns a Conflict error if a request may not go from one
// state to the other.
func CheckTransition(from, to State) error {
	if !to.Known() {
		return sdk.FieldErrorf("state", "state %q is none of in_progress, complete and failed", to)
	}
	if slices.Contains(transitions[from], to) {
		return nil
	}
	err := sdk.Errorf(sdk.Conflict, "the request is %s, which is final: its state cannot become %s", from, to)
	err.Reason = ReasonFinal
	return err
}

// ReasonFinal marks the Conflict of a change to a request that has ended.
const ReasonFinal = "final"

// StateEntry is one line of a request's history.
type StateEntry struct {
	State  State
	Reason string
	Time   time.Time
}
