package plugin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/plugin"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// programs are the examples, built once.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "iib-roster-")
	if err != nil {
		return "", err
	}
	command := exec.Command("go", "build", "-ldflags", "-s -w", "-o", dir+"/", "../../docs/examples/allowlist-gate",
		"../../docs/examples/echo-handler", "../../docs/examples/hello-service")
	// As make build does it, so that the two share what they compile.
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// spec is a plugin block for one of the examples.
func spec(t *testing.T, name string, kind plugin.Kind, values string) plugin.Spec {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return plugin.Spec{
		Name: name, Kind: kind, Path: filepath.Join(dir, name), Fingerprint: name + values,
		Values: func(host.Schema) (json.RawMessage, error) { return json.RawMessage(values), nil },
	}
}

func newRoster(t *testing.T) *plugin.Roster {
	t.Helper()
	sockets, err := os.MkdirTemp("", "iib-")
	if err != nil {
		t.Fatal(err)
	}
	r := plugin.New(plugin.Options{
		Host:      func(string) (sdk.Host, error) { return nothing{}, nil },
		SocketDir: sockets, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		r.Close()
		_ = os.RemoveAll(sockets)
	})
	return r
}

// nothing is an engine that has nothing to offer.
type nothing struct{ sdk.Host }

func (nothing) Dirs() (data, cache string) { return "", "" }
func (nothing) Address() string            { return "http://127.0.0.1" }

func apply(t *testing.T, r *plugin.Roster, specs ...plugin.Spec) {
	t.Helper()
	if err := r.Apply(t.Context(), plugin.Config{Plugins: specs}); err != nil {
		t.Fatal(err)
	}
}

// allows asks the gate allowlist-gate about an image.
func allows(t *testing.T, r *plugin.Roster, image string) bool {
	t.Helper()
	lineup, release := r.Acquire()
	defer release()
	v, err := gateOf(t, lineup, "allowlist-gate").Check(t.Context(), gateRequest(image))
	if err != nil {
		t.Fatal(err)
	}
	return v.Allowed
}

func gateOf(t *testing.T, lineup core.Lineup, name string) sdk.Gate {
	t.Helper()
	for _, g := range lineup.Gates("add") {
		if g.Plugin == name {
			return g
		}
	}
	t.Fatalf("there is no gate %s", name)
	return nil
}

func gateRequest(image string) *sdk.GateRequest {
	return &sdk.GateRequest{Images: []sdk.Image{{Spec: image}}}
}

func TestAReloadReplacesWhatChangedAndKeepsTheRest(t *testing.T) {
	r := newRoster(t)
	echo := spec(t, "echo-handler", plugin.KindHandler, `{}`)
	apply(t, r, spec(t, "allowlist-gate", plugin.KindGate, `{"registries":["quay.io"]}`), echo)
	if !allows(t, r, "quay.io/a/b:1") || allows(t, r, "example.com/a/b:1") {
		t.Error("the settings are not in force")
	}
	old, release := r.Acquire()
	apply(t, r, spec(t, "allowlist-gate", plugin.KindGate, `{"registries":["example.com"]}`), echo)
	if allows(t, r, "quay.io/a/b:1") || !allows(t, r, "example.com/a/b:1") {
		t.Error("the new settings are not in force")
	}
	before, err := old.Gates("add")[0].Check(t.Context(), gateRequest("quay.io/a/b:1"))
	if err != nil || !before.Allowed {
		t.Errorf("a request that began before the reload got %+v, %v", before, err)
	}
	release()
	for _, status := range r.Status() {
		if status.Restarts != 0 {
			t.Errorf("%s was restarted", status.Name)
		}
	}
}

func TestAPluginThatIsTakenOutIsGone(t *testing.T) {
	r := newRoster(t)
	handled := func() bool {
		lineup, release := r.Acquire()
		defer release()
		_, ok := lineup.Handler("echo")
		return ok
	}
	apply(t, r, spec(t, "echo-handler", plugin.KindHandler, `{}`))
	if !handled() {
		t.Error("echo is not handled")
	}
	apply(t, r)
	if handled() {
		t.Error("echo is still handled")
	}
}

func TestAPluginThatDiesIsRestarted(t *testing.T) {
	r := newRoster(t)
	apply(t, r, spec(t, "allowlist-gate", plugin.KindGate, `{"registries":["quay.io"]}`))
	lineup, release := r.Acquire()
	defer release()
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(os.Getpid()), "-f", "allowlist-gate").Output()
	if err != nil {
		t.Fatalf("find the plugin: %v", err)
	}
	for _, field := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		process, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		_ = process.Kill()
	}
	for deadline := time.Now().Add(time.Minute); r.Status()[0].Restarts == 0; {
		_, err := lineup.Gates("add")[0].Check(t.Context(), gateRequest("quay.io/a/b:1"))
		if err != nil && sdk.CodeOf(err) != sdk.Unavailable || time.Now().After(deadline) {
			t.Fatalf("the plugin was not restarted: %v", err)
		}
	}
	if !allows(t, r, "quay.io/a/b:1") || r.Status()[0].LastError == nil {
		t.Errorf("after the restart: %+v", r.Status()[0])
	}
}

func TestWhatCannotStartIsReportedAndTheRestRuns(t *testing.T) {
	r := newRoster(t)
	wrongKind := spec(t, "echo-handler", plugin.KindGate, `{}`)
	wrongKind.Name = "echo-as-gate"
	err := r.Apply(t.Context(), plugin.Config{Plugins: []plugin.Spec{
		spec(t, "no-such-program", plugin.KindGate, `{}`), wrongKind,
		spec(t, "allowlist-gate", plugin.KindGate, `{"registries":["quay.io"]}`),
	}})
	for _, word := range []string{"no-such-program", "echo-as-gate", "is no gate"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not tell %q", err, word)
		}
	}
	if !allows(t, r, "quay.io/a/b:1") {
		t.Error("the gate that runs is not asked")
	}
	lineup, release := r.Acquire()
	defer release()
	for _, name := range []string{"no-such-program", "echo-as-gate"} {
		t.Run("the gate "+name+" is asked all the same, and does not let pass", func(t *testing.T) {
			v, err := gateOf(t, lineup, name).Check(t.Context(), gateRequest("quay.io/a/b:1"))
			if sdk.CodeOf(err) != sdk.Unavailable || v.Allowed || !strings.Contains(err.Error(), "does not run") {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
}

func TestAServiceIsMountedAndToldWhoCalls(t *testing.T) {
	r := newRoster(t)
	service := spec(t, "hello-service", plugin.KindService, `{}`)
	service.Mounts = []string{"/hello/"}
	apply(t, r, service)
	handler, ok := r.Mount("/hello/world")
	if !ok {
		t.Fatal("nothing is mounted")
	}
	if _, ok := r.Mount("/other"); ok {
		t.Error("something answers elsewhere")
	}
	request := httptest.NewRequest(http.MethodGet, "/hello/world", nil)
	request.Header.Set(sdk.UserHeader, "jane")
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "jane") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestARosterIsCompleteWhenAllThatAnswerHaveRun(t *testing.T) {
	r := newRoster(t)
	if r.Complete() {
		t.Error("a roster that has not been told of its plugins is complete")
	}
	broken := spec(t, "broken", plugin.KindGate, "{}")
	broken.Path = "/bin/false"
	good := spec(t, "echo-handler", plugin.KindHandler, "{}")
	if err := r.Apply(t.Context(), plugin.Config{Plugins: []plugin.Spec{good, broken}}); err == nil {
		t.Error("a gate that does not start is no error")
	}
	if !r.Complete() {
		t.Error("a gate, which answers nothing, keeps the roster from being complete")
	}
	broken.Kind, broken.Fingerprint = plugin.KindHandler, "another"
	_ = r.Apply(t.Context(), plugin.Config{Plugins: []plugin.Spec{good, broken}})
	if r.Complete() {
		t.Error("a roster with a handler that has never run is complete")
	}
}
