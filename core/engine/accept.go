package engine

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// acceptedReason is the reason of every request's first state.
const acceptedReason = "The request was accepted and waits for a worker."

// Submit accepts a submission: every item is judged by its handler, all are
// stored in one transaction, and workers are told. Repeated is true when an
// idempotency key brought back earlier requests.
//
// An error about an item is a *core.ItemError.
func (e *Engine) Submit(ctx context.Context, sub *core.Submission) (requests []*core.Request, repeated bool, err error) {
	lineup, release := e.Roster.Acquire()
	defer release()
	settings := e.settings.Load()

	batch := &core.NewBatch{
		Annotations:    sub.Annotations,
		User:           sub.User,
		IdempotencyKey: sub.IdempotencyKey,
		Digest:         sub.Digest,
	}
	for i, item := range sub.Items {
		accepted, err := e.accept(ctx, lineup, settings, sub.User, item)
		if err != nil {
			return nil, false, &core.ItemError{Index: i, Err: err}
		}
		accepted.Trace = e.Tracer.Carry(ctx)
		batch.Requests = append(batch.Requests, *accepted)
	}
	requests, repeated, err = e.Store.Create(ctx, batch)
	if err != nil || repeated {
		return requests, repeated, err
	}
	e.changed.wake()
	for i, r := range requests {
		if batch.Requests[i].Lane != "" {
			e.advance()
			continue
		}
		e.tell(r.Queue)
	}
	return requests, false, nil
}

func (e *Engine) accept(ctx context.Context, lineup core.Lineup, settings *Settings, user string, item core.SubmissionItem) (*core.NewRequest, error) {
	if item.Fault != nil {
		return nil, item.Fault
	}
	handler, ok := lineup.Handler(item.Type)
	if !ok {
		return nil, sdk.Errorf(sdk.NotFound, "no plugin handles requests of type %q", item.Type)
	}
	sub := &sdk.Submission{
		Type:       item.Type,
		User:       user,
		Privileged: settings.privileged(user),
		Body:       item.Body,
	}
	if acceptor, ok := handler.Handler.(sdk.Acceptor); ok {
		if err := acceptor.Accept(ctx, sub); err != nil {
			return nil, err
		}
	}
	if !handler.Accepts && e.Judge != nil {
		if err := e.Judge(&handler.Doc, sub); err != nil {
			return nil, err
		}
	}
	if sub.Params == nil {
		sub.Params = sub.Body
	}
	if settings.forces(item.Type, user) {
		sub.Overwrite = true
	}
	for name := range sub.Fields {
		if _, ok := handler.Field(name); !ok {
			return nil, sdk.Errorf(sdk.Internal, "plugin %s set field %q, which its description does not have", handler.Plugin, name)
		}
	}
	queue := settings.Route(item.Type, user, sub.Target, sub.Overwrite)
	return &core.NewRequest{
		Type:      item.Type,
		Queue:     queue,
		Lane:      settings.Queue(queue).Serial.lane(queue, sub.Target),
		Target:    sub.Target,
		Overwrite: sub.Overwrite,
		Params:    sub.Params,
		Fields:    sub.Fields,
		Images:    images(&handler.HandlerType, sub.Fields),
		Secrets:   sub.Secrets,
		Grants:    sub.Grants,
		Reason:    acceptedReason,
	}, nil
}

// images collects the pull specs among a request's first fields.
func images(handler *core.HandlerType, fields map[string]json.RawMessage) []string {
	var specs []string
	for name, value := range fields {
		doc, ok := handler.Field(name)
		if !ok || !doc.Image {
			continue
		}
		var one string
		var many []string
		if json.Unmarshal(value, &one) == nil && one != "" {
			specs = append(specs, one)
		} else if json.Unmarshal(value, &many) == nil {
			specs = append(specs, many...)
		}
	}
	return specs
}
