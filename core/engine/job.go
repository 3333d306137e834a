package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// jobHost answers a handler's calls. Every write carries the run's claim, so a
// handler whose request was taken over changes nothing any more.
type jobHost struct{ *run }

var _ sdk.JobHost = (*jobHost)(nil)

func (h *jobHost) State(ctx context.Context, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return sdk.Errorf(sdk.Invalid, "a state needs a reason")
	}
	h.log.line(sdk.LevelInfo, reason)
	return h.change(ctx, &core.Change{State: core.InProgress, Reason: reason})
}

func (h *jobHost) Log(_ context.Context, line sdk.LogLine) error {
	h.log.line(line.Level, line.Text)
	return nil
}

func (h *jobHost) Progress(context.Context, sdk.Progress) error {
	h.engine.changed.wake()
	return nil
}

func (h *jobHost) Fields(ctx context.Context, fields map[string]json.RawMessage) error {
	change, err := core.WriteBack(&h.handler.HandlerType, fields)
	if err != nil {
		return err
	}
	return h.change(ctx, change)
}

func (h *jobHost) change(ctx context.Context, change *core.Change) error {
	_, err := h.engine.Store.Change(ctx, h.claim, change)
	if err == nil {
		h.engine.changed.wake()
	}
	return err
}

// Artifact reads the file below the workspace, whatever a path or a link in
// it says.
func (h *jobHost) Artifact(ctx context.Context, name, path string) error {
	known := false
	for _, a := range h.handler.Doc.Artifacts {
		known = known || a.Name == name
	}
	if !known {
		return sdk.Errorf(sdk.Invalid, "plugin %s has no artifact %q in its description", h.handler.Plugin, name)
	}
	relative, err := filepath.Rel(h.dir, path)
	if err != nil || !filepath.IsLocal(relative) {
		return sdk.Errorf(sdk.Invalid, "artifact %s: the file is not in the workspace", name)
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "open the workspace: %v", err)
	}
	defer root.Close()
	file, err := root.Open(relative)
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "artifact %s: %v", name, err)
	}
	defer file.Close()
	return h.engine.Artifacts.Put(ctx, h.request.ID, name, file)
}

func (h *jobHost) Secret(_ context.Context, name string) (sdk.Secret, error) {
	secret, ok := h.secrets[name]
	if !ok {
		return "", sdk.Errorf(sdk.NotFound, "the request came without %s", name)
	}
	return secret, nil
}

func (h *jobHost) Access(_ context.Context, image string) (sdk.Access, error) {
	return h.session.Access(image)
}

// lockPoll is how often a held lock is tried again.
const lockPoll = 25 * time.Millisecond

func (h *jobHost) Lock(ctx context.Context, name string) (func(), error) {
	err := h.untilFree(ctx, "the lock of "+name, "", func() error { return h.engine.Store.Lock(ctx, name, h.claim) })
	if err != nil {
		return nil, err
	}
	return func() {
		_ = h.engine.Store.Unlock(context.WithoutCancel(ctx), name, h.claim)
		h.engine.changed.wake()
	}, nil
}

// untilFree repeats what is a Conflict, with a reason, while others have it.
func (h *jobHost) untilFree(ctx context.Context, what, reason string, take func() error) error {
	for {
		changed := h.engine.changed.wait()
		err := take()
		if sdk.CodeOf(err) != sdk.Conflict || sdk.ReasonOf(err) != reason {
			return err
		}
		select {
		case <-ctx.Done():
			return sdk.Errorf(sdk.Unavailable, "wait for %s: %v", what, context.Cause(ctx))
		case <-changed:
		case <-time.After(lockPoll):
		}
	}
}

func (h *jobHost) Customize(ctx context.Context, organization string, bundle *sdk.Bundle) error {
	if err := h.tellUnknown(ctx, organization); err != nil {
		return err
	}
	steps, err := h.lineup.Steps(organization)
	if err != nil {
		return err
	}
	bundle.WithHost(h)
	for _, step := range steps {
		if step.Name == bundle.Until {
			break
		}
		h.log.line(sdk.LevelInfo, "customization "+step.Name)
		call, ended := h.span(ctx, "customizer "+step.Plugin+" "+step.Name)
		err := step.Customize(call, bundle)
		ended(err)
		if err != nil {
			return err
		}
	}
	return nil
}

// tellUnknown adds a state, once, that tells the submitter that an organization
// has no customizations of its own. Such a request is no fault (handlers,
// section 6.1), but with a misspelt name it makes a bundle that nobody wanted.
func (h *jobHost) tellUnknown(ctx context.Context, organization string) error {
	known := h.lineup.Organizations()
	if organization == "" || slices.Contains(known, organization) || !h.unknownTold.CompareAndSwap(false, true) {
		return nil
	}
	return h.State(ctx, fmt.Sprintf("The organization %q is not configured, so the customizations for all others apply. Configured are: %s.",
		organization, cmp.Or(strings.Join(known, ", "), "none")))
}
