package wire

import (
	"context"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

// fullHandler implements everything that a handler may.
type fullHandler struct {
	doc    sdk.HandlerDoc
	accept func(*sdk.Submission) error
	handlerFunc
}

func (h *fullHandler) Describe() sdk.HandlerDoc { return h.doc }

func (h *fullHandler) Accept(_ context.Context, s *sdk.Submission) error { return h.accept(s) }

func TestHandle(t *testing.T) {
	request := filled[sdk.Request]()
	conn := serve(t, sdk.Plugin{Handlers: map[string]sdk.Handler{
		"add": handlerFunc(func(_ context.Context, job *sdk.Job) error {
			diff(t, "request", request, job.Request)
			diff(t, "workspace", "/workspace", job.Workspace)
			diff(t, "cache", "/cache", job.CacheDir)
			job.Done("%d bundles were added", 3)
			return nil
		}),
		"rm": handlerFunc(func(context.Context, *sdk.Job) error { t.Error("the wrong handler ran"); return nil }),
	}}, nil)
	request.Type = "add"
	job := sdk.NewJob(request, "/workspace", "/cache", nil)
	if err := handlerOf(t, conn, "add").Handle(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	diff(t, "outcome", "3 bundles were added", job.Outcome())
}

func TestAccept(t *testing.T) {
	t.Run("a submission travels whole and comes back changed", func(t *testing.T) {
		sub, want := filled[sdk.Submission](), filled[sdk.Submission]()
		sub.Type, want.Type = "add", "add"
		other := filled[struct {
			Shift string // so that nothing in S is as in sub
			S     sdk.Submission
		}]().S
		conn := serve(t, sdk.Plugin{Handlers: map[string]sdk.Handler{"add": &fullHandler{
			accept: func(s *sdk.Submission) error {
				diff(t, "submission in the plugin", &want, s)
				s.Params, s.Fields, s.Secrets, s.Grants = other.Params, other.Fields, other.Secrets, other.Grants
				s.Target, s.Overwrite = other.Target, false
				s.User, s.Body = "somebody else", nil
				return nil
			},
		}}}, nil)
		if err := handlerOf(t, conn, "add").Accept(t.Context(), &sub); err != nil {
			t.Fatal(err)
		}
		want.Params, want.Fields, want.Secrets, want.Grants = other.Params, other.Fields, other.Secrets, other.Grants
		want.Target, want.Overwrite = other.Target, false
		diff(t, "submission afterwards", want, sub)
	})

	t.Run("without an Accept the plugin is not asked", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Handlers: map[string]sdk.Handler{"add": handlerFunc(nil)}}, nil)
		sub, want := filled[sdk.Submission](), filled[sdk.Submission]()
		if err := handlerOf(t, conn, "add").Accept(t.Context(), &sub); err != nil {
			t.Fatal(err)
		}
		diff(t, "submission", want, sub)
	})

	for what, spoil := range map[string]func(*sdk.Submission){
		"parameters that are a list":        func(s *sdk.Submission) { s.Params = []byte(`[1]`) },
		"parameters that are null":          func(s *sdk.Submission) { s.Params = []byte(`null`) },
		"a field that is not JSON":          func(s *sdk.Submission) { s.Fields = decodeFields(map[string][]byte{"a": []byte("{")}) },
		"a field with nothing in its value": func(s *sdk.Submission) { s.Fields = decodeFields(map[string][]byte{"a": nil}) },
	} {
		t.Run(what+" are refused as the plugin's fault", func(t *testing.T) {
			conn := serve(t, sdk.Plugin{Handlers: map[string]sdk.Handler{"add": &fullHandler{
				accept: func(s *sdk.Submission) error { spoil(s); return nil },
			}}}, nil)
			sub, want := filled[sdk.Submission](), filled[sdk.Submission]()
			sub.Type, want.Type = "add", "add"
			if err := handlerOf(t, conn, "add").Accept(t.Context(), &sub); sdk.CodeOf(err) != sdk.Internal {
				t.Errorf("got %v, want an internal error", err)
			}
			diff(t, "submission", want, sub)
		})
	}
}

func TestDescribeHandler(t *testing.T) {
	doc := filled[sdk.HandlerDoc]()
	for shape := range shapeTable {
		doc.Fields = append(doc.Fields, sdk.FieldDoc{Name: "f_" + string(shape), Shape: shape})
	}
	conn := connect(t, sdk.Plugin{Handlers: map[string]sdk.Handler{"add": &fullHandler{doc: doc}}})
	diff(t, "documentation", doc, handlerOf(t, conn, "add").Describe())
}
