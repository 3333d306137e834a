package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestAccept(t *testing.T) {
	w := newComposes(t)
	accept := func(body string) (*sdk.Submission, error) {
		sub := &sdk.Submission{Type: compose.Type, User: "u", Body: json.RawMessage(body)}
		return sub, w.host.handler.Accept(t.Context(), sub)
	}
	t.Run("stores all that the handler needs", func(t *testing.T) {
		sub, err := accept(`{"blueprint_name":"web","compose_type":"tar","size":7,"test":2}`)
		if err != nil {
			t.Fatal(err)
		}
		var params compose.Params
		if err := json.Unmarshal(sub.Params, &params); err != nil {
			t.Fatal(err)
		}
		if !uuid4.MatchString(params.UUID) || params.Commit != w.commits("web")[0] || params.Test != 2 || params.Size != 7 ||
			params.ImageName != "root.tar.xz" || len(params.Sources) != 1 || len(params.Packages) != 2 ||
			params.Customizations["kernel"].(map[string]any)["append"] != "quiet" {
			t.Errorf("%+v", params)
		}
		fields := make(map[string]any)
		for name, value := range sub.Fields {
			var v any
			_ = json.Unmarshal(value, &v)
			fields[name] = v
		}
		if diff := cmp.Diff(map[string]any{
			"uuid": params.UUID, "blueprint": "web", "version": "1.0.0", "compose_type": "tar", "warnings": []any{},
		}, fields); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("its errors have the API's ids", func(t *testing.T) {
		for body, id := range map[string]string{
			`{"blueprint_name":"none","compose_type":"tar"}`:     "UnknownBlueprint",
			`{"blueprint_name":"web","compose_type":"x"}`:        "BadComposeType",
			`{"blueprint_name":"web","compose_type":"live-iso"}`: "BuildFailed",
			`{}`: "MissingPost",
			`{"blueprint_name":"none","compose_type":"x","upload":{"a":1}}`: "UploadError",
		} {
			_, err := accept(body)
			if sdk.CodeOf(err) != sdk.Invalid || sdk.ReasonOf(err) != id {
				t.Errorf("%s: %v (%s)", body, err, sdk.ReasonOf(err))
			}
		}
	})
	t.Run("a repeated start is another compose", func(t *testing.T) {
		one, err := accept(start)
		if err != nil {
			t.Fatal(err)
		}
		other, err := accept(start)
		if err != nil || cmp.Equal(one.Fields["uuid"], other.Fields["uuid"]) {
			t.Errorf("%s, %v", other.Fields["uuid"], err)
		}
	})
}

func TestHandle(t *testing.T) {
	w := newComposes(t)
	doc := (&handler{}).Describe()
	_, request := w.compose(start)
	view, err := w.host.Request(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("tells when it begins, then builds", func(t *testing.T) {
		recorder := &sdktest.Recorder{Doc: &doc}
		w.build = func(_ context.Context, job *sdk.Job, params *compose.Params) error {
			var started float64
			if err := recorder.Record().Field(compose.FieldStarted, &started); err != nil || started < 1.7e9 {
				t.Errorf("job_started is %v, %v", started, err)
			}
			if params.Name != "web" || job.ID != view.ID {
				t.Errorf("%+v", params)
			}
			return sdk.Errorf(sdk.Denied, "as it was built")
		}
		if err := w.host.handler.Handle(t.Context(), sdktest.NewJob(t, view.Request, recorder)); sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff([]string{"compose"}, recorder.Record().Locked); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("one runs at a time, and those that wait have not started", func(t *testing.T) {
		running, proceed := make(chan int64), make(chan struct{})
		w.build = func(ctx context.Context, job *sdk.Job, _ *compose.Params) error {
			running <- job.ID
			<-proceed
			return nil
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		defer cancel()
		ended := make(chan error, 2)
		recorders := make(map[int64]*sdktest.Recorder)
		var jobs []*sdk.Job
		for i := range int64(2) {
			r := view.Request
			r.ID = 100 + i
			recorders[r.ID] = &sdktest.Recorder{Doc: &doc}
			jobs = append(jobs, sdktest.NewJob(t, r, recorders[r.ID]))
		}
		for _, job := range jobs {
			go func() { ended <- w.host.handler.Handle(ctx, job) }()
		}
		first := <-running
		second := 201 - first
		select {
		case id := <-running:
			t.Errorf("%d runs beside %d", id, first)
		default:
		}
		if fields := recorders[second].Record().Fields; len(fields) > 0 {
			t.Errorf("%s", fields)
		}
		proceed <- struct{}{}
		if id := <-running; id != second {
			t.Errorf("%d runs", id)
		}
		proceed <- struct{}{}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("one that waits ends when it is cancelled", func(t *testing.T) {
		running, proceed := make(chan struct{}), make(chan struct{})
		w.build = func(context.Context, *sdk.Job, *compose.Params) error {
			close(running)
			<-proceed
			return nil
		}
		ended := make(chan error, 1)
		go func() {
			ended <- w.host.handler.Handle(context.WithoutCancel(t.Context()), sdktest.NewJob(t, view.Request, new(sdktest.Recorder)))
		}()
		<-running
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.host.handler.Handle(ctx, sdktest.NewJob(t, view.Request, new(sdktest.Recorder))); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		close(proceed)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		field  string
	}{
		"as they are":           {func(*Settings) {}, ""},
		"a distro with a space": {func(s *Settings) { s.Distro = "a b" }, "distro"},
		"no composes at once":   {func(s *Settings) { s.Parallel = 0 }, "parallel"},
		"a source twice": {func(s *Settings) {
			s.Sources = []SourceSettings{{ID: "a", URL: "http://h/"}, {ID: "a", URL: "http://h/"}}
		}, "source"},
		"a source without an address": {func(s *Settings) { s.Sources = []SourceSettings{{ID: "a"}} }, "source"},
		"a source of no type":         {func(s *Settings) { s.Sources = []SourceSettings{{ID: "a", URL: "http://h/", Type: "x"}} }, "source"},
		"a source with a bad name":    {func(s *Settings) { s.Sources = []SourceSettings{{ID: "a/b", URL: "http://h/"}} }, "source"},
		"a source with a bad proxy":   {func(s *Settings) { s.Sources = []SourceSettings{{ID: "a", URL: "http://h/", Proxy: "x"}} }, "source"},
		"a source with a file as its proxy": {func(s *Settings) {
			s.Sources = []SourceSettings{{ID: "a", URL: "http://h/", Proxy: "file:///x"}}
		}, "source"},
		"a source with a certificate and no key": {func(s *Settings) {
			s.Sources = []SourceSettings{{ID: "a", URL: "http://h/", Files: clienttls.Files{Cert: "/c"}}}
		}, "source"},
		"authorities in a file of no place": {func(s *Settings) { s.CA = "ca.pem" }, "ca_file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := defaultSettings()
			c.change(&s)
			err := s.Validate()
			var e *sdk.Error
			if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &e) || e.Field != c.field) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("what the host says fills them in", func(t *testing.T) {
		s := defaultSettings()
		if err := s.complete(osRelease{ID: "fedora", Version: "42"}, "x86_64"); err != nil || s.Distro != "fedora-42" || s.Releasever != "42" || s.Basearch != "x86_64" {
			t.Errorf("%+v, %v", s, err)
		}
		s = defaultSettings()
		if err := s.complete(osRelease{}, "x86_64"); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
