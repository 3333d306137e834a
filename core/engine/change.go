package engine

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Patch applies what an outside worker reports (API contract, section 5): keys
// and shapes by the request's type, then state and reason together.
func (e *Engine) Patch(ctx context.Context, id int64, keys map[string]json.RawMessage) (*core.Request, error) {
	request, err := e.Store.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	lineup, release := e.Roster.Acquire()
	defer release()
	handler, ok := lineup.Handler(request.Type)
	if !ok {
		return nil, sdk.Errorf(sdk.Unavailable, "no plugin handles requests of type %q at present", request.Type)
	}
	fields := make(map[string]json.RawMessage, len(keys))
	for name, value := range keys {
		if name != "state" && name != "state_reason" {
			fields[name] = value
		}
	}
	change, err := core.WriteBack(&handler.HandlerType, fields)
	if err != nil {
		return nil, err
	}
	if err := readState(keys, change); err != nil {
		return nil, err
	}
	change.Settle = handler.HandlerType.Settle
	request, err = e.Store.Patch(ctx, id, change)
	if err == nil {
		e.changed.wake()
	}
	return request, err
}

func readState(keys map[string]json.RawMessage, change *core.Change) error {
	state, hasState := keys["state"]
	reason, hasReason := keys["state_reason"]
	for name, value := range map[string]json.RawMessage{"state": state, "state_reason": reason} {
		var text string
		if value != nil && (json.Unmarshal(value, &text) != nil || text == "") {
			return sdk.FieldErrorf(name, "%s must be a non-empty string", name)
		}
	}
	if hasState != hasReason {
		missing := "state"
		if hasState {
			missing = "state_reason"
		}
		return sdk.FieldErrorf(missing, "state and state_reason must be sent together: %s is missing", missing)
	}
	if !hasState {
		return nil
	}
	_ = json.Unmarshal(state, &change.State)
	_ = json.Unmarshal(reason, &change.Reason)
	if !change.State.Known() {
		return sdk.FieldErrorf("state", "state %q is none of in_progress, complete and failed", change.State)
	}
	return nil
}

// Cancel ends a request as failed, wherever it runs.
func (e *Engine) Cancel(ctx context.Context, id int64, reason string) (*core.Request, error) {
	request, err := e.Store.Cancel(ctx, id, reason)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	if r := e.runs[id]; r != nil {
		r.cancel(errCancelled)
	}
	e.mu.Unlock()
	e.changed.wake()
	return request, nil
}
