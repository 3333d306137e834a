// Package examples runs the example plugins as the engine does: each is built,
// launched, configured and used.
package examples

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/host"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// bin is where the examples are built, all at once.
var bin string

var names = []string{"allowlist-gate", "log-notifier", "annotate-customizer", "echo-handler", "compare-handler", "hello-service"}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "iib")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		bin = dir
		// As make build does it, so that the two share what they compile.
		build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin+"/")
		for _, name := range names {
			build.Args = append(build.Args, "./"+name)
		}
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the examples: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// launch starts an example with settings.
func launch(t *testing.T, name, settings string) *host.Plugin {
	t.Helper()
	p, err := host.Launch(t.Context(), host.Command{Path: filepath.Join(bin, name), SocketDir: bin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := errors.Join(
		p.Configure(t.Context(), json.RawMessage(settings)),
		p.Validate(t.Context()),
		p.Start(t.Context(), sdktest.NewHost(t)),
	); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllowlistGate(t *testing.T) {
	p := launch(t, "allowlist-gate", `{"registries": ["quay.io"]}`)
	g, err := p.Gate()
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]bool{"quay.io/a/b:1": true, "docker.io/a/b:1": false} {
		got, err := g.Check(t.Context(), sdktest.GateRequest(image))
		if err != nil || got.Allowed != want {
			t.Errorf("%s: got %+v, %v", image, got, err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLogNotifier(t *testing.T) {
	p := launch(t, "log-notifier", `{"level": "debug"}`)
	n, err := p.Notifier()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(t.Context(), sdktest.Event("failed")); err != nil {
		t.Error(err)
	}
}

func TestAnnotateCustomizer(t *testing.T) {
	p := launch(t, "annotate-customizer", `{}`)
	c, err := p.Customizer(t.Context(), "annotate", json.RawMessage(`{"labels": {"vendor": "example"}}`))
	if err != nil {
		t.Fatal(err)
	}
	r := new(sdktest.Recorder)
	b := sdktest.Bundle(t, nil, r)
	if err := c.Customize(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if b.Labels["vendor"] != "example" || r.Record().Text() == "" {
		t.Errorf("got %v and the log %q", b.Labels, r.Record().Text())
	}
}

func TestEchoHandler(t *testing.T) {
	p := launch(t, "echo-handler", `{"times": 2}`)
	h, err := p.Handler("echo")
	if err != nil {
		t.Fatal(err)
	}
	sub := sdktest.Submission("echo", map[string]string{"text": "ho"})
	if err := h.Accept(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	doc := h.Describe()
	r := &sdktest.Recorder{Doc: &doc}
	if err := h.Handle(t.Context(), sdktest.NewJob(t, sdktest.Request("echo", sub.Params), r)); err != nil {
		t.Fatal(err)
	}
	if got := string(r.Record().Fields["echo"]); got != `"hoho"` {
		t.Errorf("got %s", got)
	}
}

func TestHelloService(t *testing.T) {
	p := launch(t, "hello-service", `{}`)
	h, err := p.Service(t.Context(), host.ServiceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/hello/", nil)
	h.ServeHTTP(w, r.WithContext(host.WithUser(context.Background(), "bot")))
	if got := w.Body.String(); got != "Hello, bot! You asked for /hello/.\n" {
		t.Errorf("got %q", got)
	}
}

func TestExamplesByHand(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{nil, 1, []string{"allowlist-gate ", " is a plugin of the iib engine: Admits only images", `kind = "gate"`, "registries  list of strings  required"}},
		{[]string{"--help"}, 0, []string{"is a plugin of the iib engine", "registries"}},
		{[]string{"--version"}, 0, []string{"allowlist-gate "}},
		{[]string{"serve"}, 1, []string{"is a plugin of the iib engine"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			command := exec.Command(filepath.Join(bin, "allowlist-gate"), c.args...)
			out, err := command.CombinedOutput()
			if command.ProcessState == nil || command.ProcessState.ExitCode() != c.code {
				t.Errorf("got %v, want exit status %d", err, c.code)
			}
			for _, want := range c.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestExamplesAreShort(t *testing.T) {
	for _, name := range []string{"allowlist-gate", "log-notifier", "annotate-customizer"} {
		source, err := os.ReadFile(filepath.Join(name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), "\n"); n >= 40 {
			t.Errorf("%s has %d lines, and the guide promises less than 40", name, n)
		}
	}
}

func TestTheGuideShowsTheProgramsAsTheyAre(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	guide := read("../writing-a-plugin.md")
	if !strings.Contains(guide, "```go\n"+read("allowlist-gate/main.go")+"```\n") {
		t.Error("docs/writing-a-plugin.md does not have allowlist-gate/main.go as it is")
	}
	for language, source := range map[string]string{"go\nfunc Test": "allowlist-gate/main_test.go", "python\n": "python-notifier/notifier.py"} {
		start, _, _ := strings.Cut(language, "\n")
		blocks := strings.Split(guide, "```"+language)[1:]
		if len(blocks) == 0 {
			t.Errorf("docs/writing-a-plugin.md shows nothing of %s", source)
		}
		for _, block := range blocks {
			code, _, _ := strings.Cut(strings.TrimPrefix(language, start+"\n")+block, "```")
			if !strings.Contains(read(source), code) {
				t.Errorf("docs/writing-a-plugin.md shows what is not in %s:\n%s", source, code)
			}
		}
	}
}
