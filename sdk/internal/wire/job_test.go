package wire

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

var cmpAllowUnexported = cmp.AllowUnexported(bundleRecorder{})

// jobRecorder is an sdk.JobHost that remembers its last call and answers with
// what it was made with.
type jobRecorder struct {
	sdk.JobHost
	called []any
	reply  any
	err    error
}

func (r *jobRecorder) note(args ...any) { r.called = args }

func (r *jobRecorder) State(_ context.Context, reason string) error {
	r.note(reason)
	return r.err
}

func (r *jobRecorder) Log(_ context.Context, line sdk.LogLine) error {
	r.note(line)
	return r.err
}

func (r *jobRecorder) Progress(_ context.Context, p sdk.Progress) error {
	r.note(p)
	return r.err
}

func (r *jobRecorder) Fields(_ context.Context, f map[string]json.RawMessage) error {
	r.note(f)
	return r.err
}

func (r *jobRecorder) Artifact(_ context.Context, name, path string) error {
	r.note(name, path)
	return r.err
}

func (r *jobRecorder) Gate(_ context.Context, images []sdk.Image) error {
	r.note(images)
	return r.err
}

func (r *jobRecorder) Customize(_ context.Context, organization string, b *sdk.Bundle) error {
	r.note(organization, *b)
	if edit, ok := r.reply.(func(*sdk.Bundle)); ok {
		edit(b)
	}
	return r.err
}

func (r *jobRecorder) Build(_ context.Context, spec *sdk.ImageSpec) (*sdk.BuiltImage, error) {
	r.note(spec)
	reply, _ := r.reply.(*sdk.BuiltImage)
	return reply, r.err
}

func (r *jobRecorder) Publish(_ context.Context, p *sdk.Publication) (*sdk.Published, error) {
	r.note(p)
	reply, _ := r.reply.(*sdk.Published)
	return reply, r.err
}

func (r *jobRecorder) Secret(_ context.Context, name string) (sdk.Secret, error) {
	r.note(name)
	reply, _ := r.reply.(sdk.Secret)
	return reply, r.err
}

func (r *jobRecorder) Access(_ context.Context, image string) (sdk.Access, error) {
	r.note(image)
	reply, _ := r.reply.(sdk.Access)
	return reply, r.err
}

func (r *jobRecorder) Lock(_ context.Context, name string) (func(), error) {
	r.note(name)
	if r.err != nil {
		return nil, r.err
	}
	return func() { r.note("unlocked " + name) }, nil
}

// jobCalls are all methods of sdk.JobHost but Customize and Lock, which have
// tests of their own: the arguments that are sent and what is answered.
var jobCalls = []struct {
	name  string
	args  []any
	reply any
	call  func(ctx context.Context, h sdk.JobHost, args []any) (any, error)
}{
	{"State", []any{"Building"}, nil, func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return nil, h.State(ctx, a[0].(string))
	}},
	{"Log", []any{filled[sdk.LogLine]()}, nil, func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return nil, h.Log(ctx, a[0].(sdk.LogLine))
	}},
	{"Progress", []any{filled[sdk.Progress]()}, nil, func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return nil, h.Progress(ctx, a[0].(sdk.Progress))
	}},
	{"Fields", []any{filled[map[string]json.RawMessage]()}, nil, func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return nil, h.Fields(ctx, a[0].(map[string]json.RawMessage))
	}},
	{"Artifact", []any{"log", "/workspace/log"}, nil, func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return nil, h.Artifact(ctx, a[0].(string), a[1].(string))
	}},
	{"Gate", []any{filled[[]sdk.Image]()}, nil, func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return nil, h.Gate(ctx, a[0].([]sdk.Image))
	}},
	{"Build", []any{filled[*sdk.ImageSpec]()}, filled[*sdk.BuiltImage](), func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return h.Build(ctx, a[0].(*sdk.ImageSpec))
	}},
	{"Publish", []any{filled[*sdk.Publication]()}, filled[*sdk.Published](), func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return h.Publish(ctx, a[0].(*sdk.Publication))
	}},
	{"Secret", []any{"token"}, sdk.Secret("s3cret"), func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return h.Secret(ctx, a[0].(string))
	}},
	{"Access", []any{"quay.io/a/b"}, filled[sdk.Access](), func(ctx context.Context, h sdk.JobHost, a []any) (any, error) {
		return h.Access(ctx, a[0].(string))
	}},
}

func TestJobHost(t *testing.T) {
	for _, c := range jobCalls {
		t.Run(c.name+" travels whole", func(t *testing.T) {
			recorder := &jobRecorder{reply: c.reply}
			var reply any
			err := handle(t, recorder, func(ctx context.Context, job *sdk.Job) (err error) {
				reply, err = c.call(ctx, job.Host(), c.args)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "arguments", c.args, recorder.called)
			diff(t, "reply", c.reply, reply)
		})
		t.Run(c.name+" brings its error back", func(t *testing.T) {
			want := sdk.Error{Code: sdk.Conflict, Message: "it moved", Reason: sdk.ReasonMoved, Field: "from_index"}
			recorder := &jobRecorder{err: &want}
			err := handle(t, recorder, func(ctx context.Context, job *sdk.Job) error {
				_, err := c.call(ctx, job.Host(), c.args)
				diffError(t, &want, err)
				return err
			})
			diffError(t, &want, err)
		})
	}

	t.Run("every level of a log line travels", func(t *testing.T) {
		for _, level := range []sdk.Level{sdk.LevelDebug, sdk.LevelInfo, sdk.LevelWarn, sdk.LevelError} {
			diff(t, "level", level, decodeLine(encodeLine(sdk.LogLine{Level: level})).Level)
		}
		diff(t, "no level", sdk.LevelInfo, decodeLine(encodeLine(sdk.LogLine{})).Level)
	})

	t.Run("a field that is not JSON is refused", func(t *testing.T) {
		recorder := new(jobRecorder)
		err := handle(t, recorder, func(ctx context.Context, job *sdk.Job) error {
			return job.Host().Fields(ctx, map[string]json.RawMessage{"a": []byte("{")})
		})
		diffError(t, &sdk.Error{Code: sdk.Invalid, Message: "field a: the value is not JSON", Field: "a"}, err)
		if recorder.called != nil {
			t.Error("the engine was called")
		}
	})
}

func TestJobCustomize(t *testing.T) {
	bundle, want := filled[sdk.Bundle](), filled[sdk.Bundle]()
	recorder := &jobRecorder{reply: func(b *sdk.Bundle) {
		b.Package, b.Labels = "renamed", map[string]string{"new": "label"}
	}}
	err := handle(t, recorder, func(ctx context.Context, job *sdk.Job) error {
		return job.Customize(ctx, "redhat", &bundle)
	})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "arguments", []any{"redhat", want}, recorder.called, bundleOptions)
	want.Package, want.Labels = "renamed", map[string]string{"new": "label"}
	diff(t, "bundle afterwards", want, bundle, bundleOptions)
}
