package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Host is the engine as a plugin sees it outside a job.
type Host struct {
	// Engine may be set after the host was handed out, but before its use.
	Engine *Engine
	// DataDir and CacheDir belong to the plugin alone.
	DataDir  string
	CacheDir string
	// URL is the base URL under which the engine answers.
	URL string
}

var _ sdk.Host = (*Host)(nil)

// maxListed bounds how many requests a plugin may list at once.
const maxListed = 1000

func (h *Host) Submit(ctx context.Context, user, requestType string, body json.RawMessage) (*sdk.RequestView, error) {
	requests, _, err := h.Engine.Submit(ctx, &core.Submission{
		User: user, Items: []core.SubmissionItem{{Type: requestType, Body: body}},
	})
	if err != nil {
		var item *core.ItemError
		if errors.As(err, &item) {
			return nil, item.Err
		}
		return nil, err
	}
	return view(requests[0]), nil
}

func (h *Host) Request(ctx context.Context, id int64) (*sdk.RequestView, error) {
	request, err := h.Engine.Store.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	return view(request), nil
}

func (h *Host) Requests(ctx context.Context, requestType string, before int64, limit int) ([]*sdk.RequestView, error) {
	requests, _, err := h.Engine.Store.List(ctx, core.Filter{Type: requestType},
		core.Page{Before: before, Size: min(max(limit, 1), maxListed)})
	if err != nil {
		return nil, err
	}
	views := make([]*sdk.RequestView, 0, len(requests))
	for _, request := range requests {
		views = append(views, view(request))
	}
	return views, nil
}

func (h *Host) Cancel(ctx context.Context, id int64, reason string) error {
	_, err := h.Engine.Cancel(ctx, id, reason)
	return err
}

func (h *Host) Artifact(ctx context.Context, id int64, name string) (io.ReadCloser, error) {
	return h.Engine.Artifacts.Open(ctx, id, name)
}

func (h *Host) Log(ctx context.Context, id int64) (io.ReadCloser, error) {
	return h.Engine.Logs.Open(ctx, id)
}

func (h *Host) Forget(ctx context.Context, id int64) error {
	request, err := h.Engine.Store.Request(ctx, id)
	if err != nil {
		return err
	}
	if !request.Final() {
		return sdk.Errorf(sdk.Conflict, "request %d is in progress: cancel it before its files are removed", id)
	}
	return h.Engine.Artifacts.Remove(ctx, id)
}

func (h *Host) Dirs() (data, cache string) { return h.DataDir, h.CacheDir }

func (h *Host) Address() string { return h.URL }

func (h *Host) Access(_ context.Context, image string) (sdk.Access, error) {
	return h.Engine.Images.Session(nil).Access(image)
}

func (h *Host) DeniedNetworks(context.Context) ([]string, error) {
	return h.Engine.Images.DeniedNetworks(), nil
}

func view(r *core.Request) *sdk.RequestView {
	now := r.State()
	return &sdk.RequestView{
		Request: r.Request, State: string(now.State), Reason: now.Reason, Updated: now.Time,
		Arches: r.Arches, Fields: r.Fields,
	}
}
