package sdktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

// Host plays the engine outside of runs. It keeps requests in memory; nothing
// runs them. Its methods are safe for concurrent use.
type Host struct {
	// URL is what Address returns.
	URL string
	// OnSubmit judges a submission before it is stored; nil accepts all.
	OnSubmit func(ctx context.Context, user, requestType string, body json.RawMessage) error
	// OnAccess answers Access; nil gives anonymous access.
	OnAccess func(ctx context.Context, image string) (sdk.Access, error)
	// Denied is what DeniedNetworks returns. It is set before use.
	Denied []string

	data, cache string

	mu        sync.Mutex
	requests  []*sdk.RequestView // by ID, from 1
	artifacts map[string][]byte
	logs      map[int64][]byte
}

var _ sdk.Host = (*Host)(nil)

// NewHost returns a host with directories that vanish with the test.
func NewHost(t testing.TB) *Host {
	return &Host{
		URL: "http://localhost:8080", data: t.TempDir(), cache: t.TempDir(),
		artifacts: make(map[string][]byte), logs: make(map[int64][]byte),
	}
}

// Put stores a request as it is, under the next ID, which it returns.
func (h *Host) Put(view sdk.RequestView) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	view.ID = int64(len(h.requests) + 1)
	h.requests = append(h.requests, &view)
	return view.ID
}

// PutArtifact stores a file of a request.
func (h *Host) PutArtifact(id int64, name string, content []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.artifacts[fmt.Sprint(id, " ", name)] = content
}

// PutLog stores a request's log.
func (h *Host) PutLog(id int64, content []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs[id] = content
}

// Change changes a request that is there.
func (h *Host) Change(id int64, change func(*sdk.RequestView)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	view := *h.requests[id-1]
	change(&view)
	h.requests[id-1] = &view
}

// Submit implements sdk.Host.
func (h *Host) Submit(ctx context.Context, user, requestType string, body json.RawMessage) (*sdk.RequestView, error) {
	if h.OnSubmit != nil {
		if err := h.OnSubmit(ctx, user, requestType, body); err != nil {
			return nil, err
		}
	}
	request := Request(requestType, body)
	request.User = user
	id := h.Put(sdk.RequestView{Request: request, State: "in_progress", Reason: "The request was initiated"})
	return h.Request(ctx, id)
}

// Request implements sdk.Host.
func (h *Host) Request(_ context.Context, id int64) (*sdk.RequestView, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id < 1 || id > int64(len(h.requests)) {
		return nil, sdk.Errorf(sdk.NotFound, "request %d does not exist", id)
	}
	view := *h.requests[id-1]
	return &view, nil
}

// Requests implements sdk.Host.
func (h *Host) Requests(_ context.Context, requestType string, before int64, limit int) ([]*sdk.RequestView, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var views []*sdk.RequestView
	for _, v := range slices.Backward(h.requests) {
		if v.Type == requestType && (before == 0 || v.ID < before) && len(views) < limit {
			view := *v
			views = append(views, &view)
		}
	}
	return views, nil
}

// Cancel implements sdk.Host.
func (h *Host) Cancel(_ context.Context, id int64, reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id < 1 || id > int64(len(h.requests)) {
		return sdk.Errorf(sdk.NotFound, "request %d does not exist", id)
	}
	view := h.requests[id-1]
	if view.State != "in_progress" {
		return sdk.Errorf(sdk.Conflict, "request %d has ended as %s", id, view.State)
	}
	view.State, view.Reason = "failed", reason
	return nil
}

// Artifact implements sdk.Host.
func (h *Host) Artifact(_ context.Context, id int64, name string) (io.ReadCloser, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	content, ok := h.artifacts[fmt.Sprint(id, " ", name)]
	if !ok {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no artifact %s", id, name)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// Log implements sdk.Host.
func (h *Host) Log(_ context.Context, id int64) (io.ReadCloser, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	content, ok := h.logs[id]
	if !ok {
		return nil, sdk.Errorf(sdk.NotFound, "request %d has no log", id)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// Forget implements sdk.Host.
func (h *Host) Forget(_ context.Context, id int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id < 1 || id > int64(len(h.requests)) {
		return sdk.Errorf(sdk.NotFound, "request %d does not exist", id)
	}
	if h.requests[id-1].State == "in_progress" {
		return sdk.Errorf(sdk.Conflict, "request %d is in progress", id)
	}
	delete(h.logs, id)
	maps.DeleteFunc(h.artifacts, func(key string, _ []byte) bool {
		return strings.HasPrefix(key, fmt.Sprint(id, " "))
	})
	return nil
}

// Dirs implements sdk.Host.
func (h *Host) Dirs() (data, cache string) { return h.data, h.cache }

// Address implements sdk.Host.
func (h *Host) Address() string { return h.URL }

// Access implements sdk.Host.
func (h *Host) Access(ctx context.Context, image string) (sdk.Access, error) {
	if h.OnAccess == nil {
		return sdk.Access{}, nil
	}
	return h.OnAccess(ctx, image)
}

// DeniedNetworks implements sdk.Host.
func (h *Host) DeniedNetworks(context.Context) ([]string, error) { return h.Denied, nil }
