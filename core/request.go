package core

import (
	"encoding/json"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Request is a stored request: what was submitted, and what came of it.
type Request struct {
	sdk.Request

	// BatchAnnotations are those of the batch, null when it has none.
	BatchAnnotations json.RawMessage
	// History is newest first and never empty. List reads may leave out all
	// but the newest entry.
	History []StateEntry
	// Arches are sorted and unique.
	Arches []string
	// Fields are the type's representation keys.
	Fields map[string]json.RawMessage
	// TakeOvers counts the attempts that ended with their worker: it died, or
	// lost the database for longer than its lease.
	TakeOvers int
	// Epoch counts the claims; a write with an older epoch is refused.
	Epoch int64
	// Worker holds the claim until Lease, both zero when nobody does.
	Worker string
	Lease  time.Time
	// NotBefore delays the next attempt after a transient fault.
	NotBefore time.Time
	// Trace is the span of the submission, as Tracer.Carry gives it, or empty.
	Trace string
	// CancelReason is set when somebody asked for the request to end.
	CancelReason string
}

// State returns the newest entry of the history.
func (r *Request) State() StateEntry { return r.History[0] }

// Final reports whether the request has ended.
func (r *Request) Final() bool { return r.State().State.Final() }

// Expires returns when the request's files may be removed: some days after its
// latest state.
func (r *Request) Expires(keep time.Duration) time.Time { return r.State().Time.Add(keep) }

// NewBatch is a submission that passed every check: one or several requests
// that are stored together or not at all.
type NewBatch struct {
	// Annotations is null, or the JSON object that came with the batch.
	Annotations json.RawMessage
	User        string
	Requests    []NewRequest
	// IdempotencyKey, if not empty, makes a repetition of the same submission
	// by the same user return the stored requests. Digest identifies the body.
	IdempotencyKey string
	Digest         string
}

// NewRequest is one accepted submission.
type NewRequest struct {
	Type  string
	Queue string
	// Lane, if it is not empty, names what this request runs in one after
	// another with others: no request of a lane is claimed before all that
	// were stored earlier have ended.
	Lane      string
	Target    string
	Overwrite bool
	Params    json.RawMessage
	Fields    map[string]json.RawMessage
	// Images are all pull specs that the submission mentions in any role: the
	// list filters distinguish images that were never seen.
	Images  []string
	Secrets map[string]sdk.Secret
	Grants  []sdk.Grant
	// Reason is that of the first state.
	Reason string
	// Trace is the span of the submission, as Tracer.Carry gives it, or empty.
	Trace string
}

// Change is a write to a request. Zero fields change nothing; all of it is
// applied or none.
type Change struct {
	// State and Reason append a history entry, unless both equal the newest.
	State  State
	Reason string
	// Arches are added to the set.
	Arches []string
	// Fields replace the values of their keys.
	Fields map[string]json.RawMessage
	// Images are pull specs among Fields, for the list filters.
	Images []string
	// Settle, if it is set, returns what becomes of Fields where the request
	// shows current. The store calls it in the transaction of the change, with
	// nothing in between, and perhaps more than once; it changes neither map.
	Settle func(current, fields map[string]json.RawMessage) (map[string]json.RawMessage, error)
}

// Settled returns the change for a request that shows current.
func (c *Change) Settled(current map[string]json.RawMessage) (*Change, error) {
	if c.Settle == nil {
		return c, nil
	}
	fields, err := c.Settle(current, c.Fields)
	if err != nil {
		return nil, err
	}
	settled := *c
	settled.Fields, settled.Settle = fields, nil
	return &settled, nil
}

// Claim is a worker's right to run a request. Writes carry it; the store
// refuses them when the epoch has moved on.
type Claim struct {
	Request int64
	Worker  string
	Epoch   int64
}

// BatchState derives a batch's state from its members' (contract 3.9).
func BatchState(members []State) State {
	state := Complete
	for _, m := range members {
		switch m {
		case InProgress:
			return InProgress
		case Failed:
			state = Failed
		}
	}
	return state
}
