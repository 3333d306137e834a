package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iib-engine/iib/sdk"
)

// allowlist is a gate as an author writes it.
type allowlist struct {
	Registries []string      `hcl:"registries"`
	Timeout    time.Duration `hcl:"timeout,optional"`
	Token      sdk.Secret    `hcl:"token,optional"`
	events     []string
}

func (a *allowlist) Validate() error {
	a.events = append(a.events, "validate")
	if len(a.Registries) == 0 {
		return sdk.FieldErrorf("registries", "registries: there must be one")
	}
	return nil
}

func (a *allowlist) Start(_ context.Context, h sdk.Host) error {
	a.events = append(a.events, "start at "+h.Address())
	return nil
}

func (a *allowlist) Close() error { a.events = append(a.events, "close"); return nil }

func (a *allowlist) Check(_ context.Context, r *sdk.GateRequest) (sdk.Verdict, error) {
	for _, image := range r.Images {
		if image.Registry() != a.Registries[0] {
			return sdk.Deny("%s is not from %v, says %s after %v", image.Spec, a.Registries, a.Token.Reveal(), a.Timeout), nil
		}
	}
	return sdk.Allow, nil
}

func diff(t *testing.T, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, options...); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestGate(t *testing.T) {
	a := &allowlist{Registries: []string{"quay.io"}, Timeout: time.Second, Token: "t"}
	t.Run("is served with its settings", func(t *testing.T) {
		g := Gate(t, a)
		got, err := g.Check(t.Context(), GateRequest("quay.io/a/b:1", "docker.io/c/d@sha256:00"))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "verdict", sdk.Deny("docker.io/c/d@sha256:00 is not from [quay.io], says t after 1s"), got)
	})
	diff(t, "life", []string{"validate", "start at http://localhost:8080", "close"}, a.events)
}

func TestNotifierAndBuilder(t *testing.T) {
	event := Event("complete")
	n := Notifier(t, notifierFunc(func(e *sdk.Event) error {
		diff(t, "event", event, e)
		return nil
	}))
	if err := n.Notify(t.Context(), event); err != nil {
		t.Error(err)
	}
	b := Builder(t, builderFunc(func(s *sdk.BuildSpec) (sdk.Digest, error) { return sdk.Digest(s.Base), nil }))
	digest := digestOf("x")
	got, err := b.Build(t.Context(), &sdk.BuildSpec{ImageSpec: sdk.ImageSpec{Base: digest}})
	if err != nil || string(got) != digest {
		t.Errorf("got %s, %v", got, err)
	}
}

type notifierFunc func(*sdk.Event) error

func (f notifierFunc) Notify(_ context.Context, e *sdk.Event) error { return f(e) }

type builderFunc func(*sdk.BuildSpec) (sdk.Digest, error)

func (f builderFunc) Build(_ context.Context, s *sdk.BuildSpec) (sdk.Digest, error) { return f(s) }

type handlerFunc func(context.Context, *sdk.Job) error

func (f handlerFunc) Handle(ctx context.Context, j *sdk.Job) error { return f(ctx, j) }

func TestHandler(t *testing.T) {
	r := &Recorder{
		Secrets: map[string]sdk.Secret{"token": "s"},
		Doc: &sdk.HandlerDoc{
			Fields:    []sdk.FieldDoc{{Name: "index_image", Shape: sdk.ShapeImage}, {Name: "read_only"}},
			Artifacts: []sdk.ArtifactDoc{{Name: "report"}},
		},
		OnGate: func(_ context.Context, images []sdk.Image) error {
			if images[0].Spec == "bad" {
				return sdk.Errorf(sdk.Denied, "no")
			}
			return nil
		},
		OnCustomize: func(_ context.Context, _ string, b *sdk.Bundle) error { b.Package = "renamed"; return nil },
		OnAccess: func(_ context.Context, image string) (sdk.Access, error) {
			return sdk.Access{Username: image}, nil
		},
	}
	image := sdk.Image{Spec: "quay.io/a/b:1"}
	spec := &sdk.ImageSpec{Base: "scratch", Arches: []string{"amd64", "s390x"}, Layers: []sdk.Layer{{Size: 3}, {Size: 4}}}
	h := Handler(t, "add", handlerFunc(func(ctx context.Context, job *sdk.Job) error {
		report := filepath.Join(job.Workspace, "report.json")
		if err := os.WriteFile(report, []byte("content"), 0o600); err != nil {
			return err
		}
		check := func(what string, err error, want sdk.Code) {
			if sdk.CodeOf(err) != want {
				t.Errorf("%s: got %v, want code %q", what, err, want)
			}
		}
		check("state", job.Statef(ctx, "Working"), "")
		check("state", job.Statef(ctx, "Working"), "")
		job.Warnf(ctx, "careful with %d", 7)
		job.Progress(ctx, "copy", 1, 2)
		check("fields", job.SetFields(ctx, map[string]any{"index_image": "x", "arches": []string{"amd64"}}), "")
		check("fields", job.SetFields(ctx, map[string]any{"unknown": 1}), sdk.Invalid)
		check("fields", job.SetFields(ctx, map[string]any{"read_only": 1}), sdk.Invalid)
		check("artifact", job.Artifact(ctx, "report", report), "")
		check("artifact", job.Artifact(ctx, "other", report), sdk.Invalid)
		check("artifact", job.Artifact(ctx, "report", "/etc/passwd"), sdk.Invalid)
		check("gate", job.Gate(ctx, []sdk.Image{image}), "")
		check("gate", job.Gate(ctx, []sdk.Image{{Spec: "bad"}}), sdk.Denied)
		bundle := &sdk.Bundle{Package: "etcd"}
		check("customize", job.Customize(ctx, "org", bundle), "")
		diff(t, "package", "renamed", bundle.Package)
		unlock, err := job.Lock(ctx, "index")
		check("lock", err, "")
		expired, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err = job.Lock(expired, "index")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that is held: got %v", err)
		}
		unlock()
		secret, err := job.Secret(ctx, "token")
		check("secret", err, "")
		diff(t, "secret", "s", secret.Reveal())
		_, err = job.Secret(ctx, "none")
		check("secret", err, sdk.NotFound)
		access, err := job.Access(ctx, "quay.io/x")
		check("access", err, "")
		diff(t, "access", sdk.Access{Username: "quay.io/x"}, access)
		built, err := job.Build(ctx, spec)
		check("build", err, "")
		diff(t, "bytes pushed", int64(7), built.Pushed)
		published, err := job.Publish(ctx, &sdk.Publication{Image: built.Image, Overwrite: "quay.io:443/ns/index:v4.15"})
		check("publish", err, "")
		diff(t, "published", &sdk.Published{
			IndexImage: "quay.io:443/ns/index:v4.15", IndexImageResolved: "quay.io:443/ns/index@" + built.Digest,
			InternalCopy: buildRepository + ":1", InternalCopyResolved: built.Image,
		}, published)
		return nil
	}))
	if err := h.Handle(t.Context(), NewJob(t, Request("add", map[string]int{"n": 1}), r)); err != nil {
		t.Fatal(err)
	}
	record := r.Record()
	diff(t, "record", Record{
		States:     []string{"Working"},
		Lines:      []sdk.LogLine{{Level: sdk.LevelWarn, Text: "careful with 7"}},
		Progress:   []sdk.Progress{{Phase: "copy", Done: 1, Total: 2}},
		Fields:     map[string]json.RawMessage{"index_image": json.RawMessage(`"x"`), "arches": json.RawMessage(`["amd64"]`)},
		Artifacts:  map[string][]byte{"report": []byte("content")},
		Gated:      [][]sdk.Image{{image}, {{Spec: "bad"}}},
		Customized: []Customization{{"org", &sdk.Bundle{Package: "etcd"}}},
		Built:      []*sdk.ImageSpec{spec},
		Published:  record.Published,
		Locked:     []string{"index"},
	}, record, cmpopts.IgnoreUnexported(sdk.Bundle{}))
	diff(t, "text", "careful with 7\n", record.Text())
	var field string
	if err := record.Field("index_image", &field); err != nil || field != "x" {
		t.Errorf("field: got %q, %v", field, err)
	}
	if err := record.Field("none", &field); err == nil {
		t.Error("a field that is not there was found")
	}
}

type suffix struct {
	Suffix string `hcl:"suffix"`
}

func (s *suffix) Customize(ctx context.Context, b *sdk.Bundle) error {
	b.Package += s.Suffix
	b.Logf(ctx, "package %s", b.Package)
	data, err := os.ReadFile(filepath.Join(b.Dir, "manifests/a.yaml"))
	b.SetLabel("content", string(data))
	return err
}

func TestCustomizer(t *testing.T) {
	r := new(Recorder)
	b := Bundle(t, map[string]string{"manifests/a.yaml": "a: 1"}, r)
	if err := Customizer(t, &suffix{Suffix: "-x"}).Customize(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	diff(t, "package", "etcd-x", b.Package)
	diff(t, "labels", map[string]string{"content": "a: 1"}, b.Labels)
	diff(t, "log", "package etcd-x\n", r.Record().Text())

	p := Serve(t, sdk.Plugin{Name: "p", Customizers: map[string]sdk.Customizer{"suffix": new(suffix)}}, nil)
	b = Bundle(t, map[string]string{"manifests/a.yaml": ""}, r)
	if err := p.Customizer("suffix", &suffix{Suffix: "-y"}).Customize(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	diff(t, "package", "etcd-y", b.Package)
}

// desk is a service that submits and reads requests.
type desk struct{ host sdk.Host }

func (d *desk) Start(_ context.Context, h sdk.Host) error { d.host = h; return nil }

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := d.host.Submit(r.Context(), sdk.UserFrom(r), "add", json.RawMessage(`{"n":1}`)); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	if err := d.host.Cancel(r.Context(), 1, "too early"); err != nil && sdk.CodeOf(err) != sdk.Conflict {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	views, err := d.host.Requests(r.Context(), "add", 0, 10)
	fmt.Fprintln(w, len(views), views[0].ID, views[0].User, views[len(views)-1].State, err)
	_, err = d.host.Request(r.Context(), 77)
	fmt.Fprintln(w, err)
	content, err := d.host.Artifact(r.Context(), 1, "log")
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	defer content.Close()
	_, _ = io.Copy(w, content)
}

func TestService(t *testing.T) {
	host := NewHost(t)
	host.PutArtifact(1, "log", []byte("the log"))
	host.OnSubmit = func(_ context.Context, user, _ string, _ json.RawMessage) error {
		if user == "" {
			return sdk.Errorf(sdk.Denied, "who are you")
		}
		return nil
	}
	h := Serve(t, sdk.Plugin{Name: "desk", Service: new(desk)}, host).Service()
	ask := func(user string) string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		h.ServeHTTP(w, r.WithContext(WithUser(t.Context(), user)))
		return w.Body.String()
	}
	diff(t, "answer", "1 1 me failed <nil>\nrequest 77 does not exist\nthe log", ask("me"))
	diff(t, "answer", "2 2 you failed <nil>\nrequest 77 does not exist\nthe log", ask("you"))
	diff(t, "answer", "who are you\n", ask(""))
	if alone := Service(t, http.NotFoundHandler()); alone == nil {
		t.Error("no service")
	}
}

// watched is a test that is expected to complain.
type watched struct {
	testing.TB
	complaints []string
}

func (w *watched) Helper() {}

func (w *watched) Error(args ...any) { w.complaints = append(w.complaints, fmt.Sprint(args...)) }

func (w *watched) Errorf(format string, args ...any) { w.Error(fmt.Sprintf(format, args...)) }

func (w *watched) Fatal(args ...any) { w.Error(args...); runtime.Goexit() }

func (w *watched) Fatalf(format string, args ...any) { w.Fatal(fmt.Sprintf(format, args...)) }

// complaints returns what a test of p complains of.
func complaints(t *testing.T, p sdk.Plugin, f func(*Plugin)) string {
	w := &watched{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		served := Serve(w, p, nil)
		if f != nil {
			f(served)
		}
	}()
	<-done
	return strings.Join(w.complaints, "\n")
}

// nearMiss has every optional method, each with a signature of its own making.
type nearMiss struct{}

func (*nearMiss) Check(context.Context, *sdk.GateRequest) (sdk.Verdict, error) { return sdk.Allow, nil }
func (*nearMiss) Handle(context.Context, *sdk.Job) error                       { return nil }
func (*nearMiss) Validate(context.Context) error                               { return nil }
func (*nearMiss) Start(sdk.Host) (int, error)                                  { return 0, nil }
func (*nearMiss) Close()                                                       {}
func (*nearMiss) Accept(*sdk.Submission) error                                 { return nil }
func (*nearMiss) Describe() *sdk.HandlerDoc                                    { return nil }

type badDoc struct{ handlerFunc }

func (badDoc) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{Params: []sdk.ParamDoc{{Name: "a", Schema: json.RawMessage(`{`)}}}
}

func TestComplaints(t *testing.T) {
	const never = "would never be called: its signature is not that of sdk."
	gate := &allowlist{Registries: []string{"quay.io"}}
	for _, c := range []struct {
		what   string
		plugin sdk.Plugin
		use    func(*Plugin)
		want   string
	}{
		{"nothing", sdk.Plugin{Name: "p", Gate: gate}, nil, ""},
		{"a gate's near misses", sdk.Plugin{Name: "p", Gate: &nearMiss{}}, nil,
			"*sdktest.nearMiss.Validate " + never + "Validator but func(context.Context) error\n" +
				"*sdktest.nearMiss.Start " + never + "Starter but func(sdk.Host) (int, error)\n" +
				"*sdktest.nearMiss.Close " + never + "Closer but func()"},
		{"a handler's near misses", sdk.Plugin{Name: "p", Handlers: map[string]sdk.Handler{"add": &nearMiss{}}}, nil,
			"*sdktest.nearMiss.Validate " + never + "Validator but func(context.Context) error\n" +
				"*sdktest.nearMiss.Start " + never + "Starter but func(sdk.Host) (int, error)\n" +
				"*sdktest.nearMiss.Close " + never + "Closer but func()\n" +
				"*sdktest.nearMiss.Accept " + never + "Acceptor but func(*sdk.Submission) error\n" +
				"*sdktest.nearMiss.Describe " + never + "Describer but func() *sdk.HandlerDoc"},
		{"a name that cannot be", sdk.Plugin{Name: "P", Gate: gate}, nil,
			`plugin P: the name "P" must have lower-case letters, digits and hyphens only`},
		{"wrong settings", sdk.Plugin{Name: "p", Gate: &allowlist{}}, nil, "validate: registries: there must be one"},
		{"documentation that is not JSON", sdk.Plugin{Name: "p", Handlers: map[string]sdk.Handler{"add": badDoc{}}}, nil,
			"describe: request type add: the schema or the example of parameter a is not JSON"},
		{"a kind that is not offered", sdk.Plugin{Name: "p", Gate: gate}, func(p *Plugin) { p.Notifier() }, "plugin p has no notifier"},
		{"a request type that is not offered", sdk.Plugin{Name: "p", Gate: gate}, func(p *Plugin) { p.Handler("add") }, "plugin p has no handler of add"},
	} {
		t.Run("of "+c.what, func(t *testing.T) {
			diff(t, "complaints", c.want, complaints(t, c.plugin, c.use))
		})
	}

	t.Run("of a README.md that leaves out settings", func(t *testing.T) {
		t.Chdir(t.TempDir())
		p := sdk.Plugin{Name: "p", Gate: gate, Customizers: map[string]sdk.Customizer{"suffix": new(suffix)}}
		write := func(text string) {
			if err := os.WriteFile("README.md", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("| `registries` | which |\n| `token` | what |\n timeout and suffix without backquotes")
		diff(t, "complaints", "README.md says nothing of the setting `timeout`\nREADME.md says nothing of the setting `suffix` of customizer suffix",
			complaints(t, p, nil))
		write("`registries` `token` `timeout` `suffix`")
		diff(t, "complaints", "", complaints(t, p, nil))
	})
}
