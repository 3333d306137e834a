package engine

import (
	"context"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// maxPauseReason bounds in bytes why a queue is paused.
const maxPauseReason = 1000

// PauseQueue lets no request of a queue begin until ResumeQueue; those that run go
// on. It holds for all processes, and beyond their ends. A queue that is paused
// already has the new reason.
func (e *Engine) PauseQueue(ctx context.Context, queue, by, reason string) error {
	if reason = strings.TrimSpace(reason); len(reason) > maxPauseReason {
		return sdk.FieldErrorf("reason", "the reason has %d bytes; %d are allowed", len(reason), maxPauseReason)
	}
	if err := e.Store.Pause(ctx, queue, by, reason); err != nil {
		return err
	}
	e.Logger.Info("queue paused", "queue", queue, "user", by, "reason", reason)
	return nil
}

// ResumeQueue ends a pause; of a queue that is not paused it changes nothing.
func (e *Engine) ResumeQueue(ctx context.Context, queue, by string) error {
	if err := e.Store.Resume(ctx, queue); err != nil {
		return err
	}
	e.Logger.Info("queue resumed", "queue", queue, "user", by)
	// What was told of it meanwhile is lost.
	e.advance()
	return nil
}
