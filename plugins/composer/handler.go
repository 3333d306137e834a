package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/sdk"
)

var (
	_ sdk.Handler   = (*handler)(nil)
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Describer = (*handler)(nil)
)

// handler accepts and runs the requests that composes are.
type handler struct{ service *service }

// Accept implements sdk.Acceptor.
func (h *handler) Accept(ctx context.Context, sub *sdk.Submission) error {
	return h.service.planner.Accept(ctx, sub)
}

// Handle implements sdk.Handler.
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	s := h.service
	ended := s.runs.begin(job.ID)
	defer ended()
	params := new(compose.Params)
	if err := job.Decode(params); err != nil {
		return err
	}
	done, err := s.line.Wait(ctx, job.ID)
	if err != nil {
		return err
	}
	defer done()
	if s.Parallel == 1 {
		// The line has the order of this process; other processes have lines of
		// their own.
		unlock, err := job.Lock(ctx, "compose")
		if err != nil {
			return err
		}
		defer unlock()
	}
	if err := job.SetFields(ctx, map[string]any{compose.FieldStarted: float64(time.Now().UnixMicro()) / 1e6}); err != nil {
		return err
	}
	return s.backend.build(ctx, job, params)
}

// runs are the requests that are handled now.
type runs struct {
	mu  sync.Mutex
	all map[int64]chan struct{}
}

func (r *runs) begin(id int64) (ended func()) {
	over := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[int64]chan struct{})
	}
	r.all[id] = over
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.all[id] == over {
			delete(r.all, id)
		}
		close(over)
	}
}

// gone waits until a request is not handled in this process.
func (r *runs) gone(ctx context.Context, id int64) error {
	r.mu.Lock()
	over := r.all[id]
	r.mu.Unlock()
	if over == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Describe implements sdk.Describer.
func (h *handler) Describe() sdk.HandlerDoc {
	schema := func(s string) json.RawMessage { return json.RawMessage(s) }
	text := schema(`{"type":"string"}`)
	return sdk.HandlerDoc{
		Summary: "Compose an operating system image from a blueprint.",
		Params: []sdk.ParamDoc{
			{Name: "blueprint_name", Required: true, Doc: "The blueprint, as it is committed.", Schema: text, Example: schema(`"http-server"`)},
			{Name: "compose_type", Required: true, Doc: "The type of image; the Weldr API's `compose/types` lists them.", Schema: text, Example: schema(`"tar"`)},
			{Name: "branch", Doc: "The blueprint's branch. Default: master.", Schema: text, Example: schema(`"master"`)},
			{Name: "size", Doc: "The least size of a disk, in bytes; 0 is as needed.", Schema: schema(`{"type":"integer","minimum":0}`), Example: schema(`0`)},
			{Name: "test", Doc: "1 builds nothing and fails, 2 builds nothing and succeeds.", Schema: schema(`{"type":"integer","enum":[0,1,2]}`)},
		},
		Fields: []sdk.FieldDoc{
			{Name: compose.FieldUUID, Doc: "What the Weldr API calls the compose.", Schema: schema(`{"type":"string","format":"uuid"}`)},
			{Name: compose.FieldBlueprint, Doc: "The blueprint's name.", Schema: text},
			{Name: compose.FieldVersion, Doc: "The blueprint's version.", Schema: text},
			{Name: compose.FieldType, Doc: "The type of image.", Schema: text},
			{Name: compose.FieldWarnings, Doc: "What the user should know of the image.", Schema: schema(`{"type":"array","items":{"type":"string"}}`)},
			{Name: compose.FieldStarted, Doc: "When the build began, in seconds since 1970.", Schema: schema(`{"type":"number"}`), Shape: sdk.ShapeNumber},
			{Name: compose.FieldImageSize, Doc: "The size of the image's file, in bytes.", Schema: schema(`{"type":"number"}`), Shape: sdk.ShapeNumber},
			{Name: compose.FieldImage, Doc: "The pull spec of an image that was pushed to a registry.", Schema: text, Shape: sdk.ShapeImage, Image: true},
		},
		Artifacts: []sdk.ArtifactDoc{
			{Name: compose.ArtifactImage, Path: "image", ContentType: "application/octet-stream"},
			{Name: compose.ArtifactMetadata, Path: "metadata", ContentType: "application/x-tar"},
			{Name: compose.ArtifactLogs, Path: "compose-logs", ContentType: "application/x-tar"},
		},
	}
}
