package engine

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Dry runs work in the process that answers the caller, who waits for them: a
// few at one time, and none for long.
const (
	maxPreviews    = 4
	previewTimeout = 5 * time.Minute
)

// Preview judges a submission as Submit does and has its handler tell what it
// would change. Nothing is stored, and no worker is involved.
func (e *Engine) Preview(ctx context.Context, user string, item core.SubmissionItem) (*sdk.Preview, error) {
	lineup, release := e.Roster.Acquire()
	defer release()
	settings := e.settings.Load()
	accepted, err := e.accept(ctx, lineup, settings, user, item)
	if err != nil {
		return nil, err
	}
	handler, _ := lineup.Handler(item.Type)
	previewer, ok := handler.Handler.(sdk.Previewer)
	if !ok || !handler.Previews {
		return nil, sdk.FieldErrorf("dry_run", "dry_run is not for requests of type %s: what they would do can only be seen by doing it", item.Type)
	}
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	select {
	case e.previews <- struct{}{}:
		defer func() { <-e.previews }()
	case <-ctx.Done():
		return nil, sdk.Errorf(sdk.Unavailable, "too many dry runs are waited for: try again later")
	}
	dir, err := os.MkdirTemp(e.WorkDir, "preview-")
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "make a workspace: %v", err)
	}
	defer os.RemoveAll(dir)
	request := sdk.Request{
		Type: item.Type, User: user, Queue: accepted.Queue, Target: accepted.Target, Overwrite: accepted.Overwrite,
		Params: accepted.Params, Accepted: time.Now(),
	}
	host := &previewHost{
		jobHost: jobHost{&run{
			engine: e, request: &core.Request{Request: request}, settings: settings, lineup: lineup, handler: handler,
			dir: dir, secrets: accepted.Secrets, session: e.Images.Session(accepted.Grants), cancel: func(error) { cancel() },
		}},
	}
	preview, err := previewer.Preview(ctx, sdk.NewJob(request, filepath.Clean(dir), e.CacheDir, host))
	if err != nil {
		switch code := sdk.CodeOf(err); code {
		case sdk.Unavailable, sdk.Internal:
			return nil, err
		default:
			preview = &sdk.Preview{Problems: []string{err.Error()}}
		}
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	for i, problem := range preview.Problems {
		preview.Problems[i] = sentence(problem)
	}
	preview.Problems = append(host.denials, preview.Problems...)
	return preview, nil
}

// previewHost answers the handler of a dry run. What would leave something
// behind is refused.
type previewHost struct {
	jobHost

	mu      sync.Mutex
	denials []string
}

var _ sdk.JobHost = (*previewHost)(nil)

func refusedIn(what string) error {
	return sdk.Errorf(sdk.Internal, "a dry run must not %s", what)
}

func (h *previewHost) State(_ context.Context, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return sdk.Errorf(sdk.Invalid, "a state needs a reason")
	}
	return nil
}

func (h *previewHost) Log(context.Context, sdk.LogLine) error       { return nil }
func (h *previewHost) Progress(context.Context, sdk.Progress) error { return nil }

// Fields checks what is reported, so that mistakes show in a dry run as well.
func (h *previewHost) Fields(_ context.Context, fields map[string]json.RawMessage) error {
	_, err := core.WriteBack(&h.handler.HandlerType, fields)
	return err
}

// Gate asks the gates, and notes a denial instead of ending at it.
func (h *previewHost) Gate(ctx context.Context, images []sdk.Image) error {
	err := h.jobHost.Gate(ctx, images)
	if sdk.CodeOf(err) != sdk.Denied {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.denials = append(h.denials, sentence(err.Error()))
	return nil
}

func (h *previewHost) Artifact(context.Context, string, string) error {
	return refusedIn("store an artifact")
}

func (h *previewHost) Build(context.Context, *sdk.ImageSpec) (*sdk.BuiltImage, error) {
	return nil, refusedIn("build an image")
}

func (h *previewHost) Publish(context.Context, *sdk.Publication) (*sdk.Published, error) {
	return nil, refusedIn("publish")
}

func (h *previewHost) Lock(context.Context, string) (func(), error) {
	return nil, refusedIn("take a lock")
}
