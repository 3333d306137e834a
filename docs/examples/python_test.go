package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// pythonNotifier builds the notifier in Python, or skips the test.
func pythonNotifier(t *testing.T) string {
	t.Helper()
	for what, check := range map[string][]string{
		"protoc is not installed (Debian: protobuf-compiler, libprotobuf-dev)": {"protoc", "-o", os.DevNull, "google/protobuf/timestamp.proto"},
		"gRPC is not installed for /usr/bin/python3 (Debian: python3-grpcio, python3-protobuf, python3-cryptography)": {
			"/usr/bin/python3", "-c", "import grpc, google.protobuf, cryptography"},
	} {
		if err := exec.Command(check[0], check[1:]...).Run(); err != nil {
			real.Missing(t, "%s", what)
		}
	}
	path := filepath.Join(bin, "python-notifier")
	if out, err := exec.Command("python-notifier/build.sh", path).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	return path
}

func TestPythonNotifier(t *testing.T) {
	path := pythonNotifier(t)
	events := filepath.Join(t.TempDir(), "events.jsonl")
	p := launch(t, "python-notifier", fmt.Sprintf(`{"path": %q}`, events))
	n, err := p.Notifier()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			e := sdktest.Event("failed")
			e.ID, e.Request = fmt.Sprint(i), int64(i)
			if err := n.Notify(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	data, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]map[string]any)
	for line := range strings.Lines(string(data)) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		got[event["id"].(string)] = event
	}
	want := map[string]any{
		"id": "7", "kind": "EVENT_KIND_REQUEST", "delivery": 1.0, "batch": 1.0, "request": 7.0, "state": "failed",
		"user": "tester@EXAMPLE.COM", "body": map[string]any{"id": 1.0, "batch": 1.0, "state": "failed"},
	}
	if diff := cmp.Diff(want, got["7"]); diff != "" || len(got) != 20 {
		t.Errorf("there are %d events (-want +got):\n%s", len(got), diff)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}

	t.Run("without its file, an event stays", func(t *testing.T) {
		p := launch(t, "python-notifier", fmt.Sprintf(`{"path": %q}`, filepath.Join(t.TempDir(), "none", "events")))
		n, err := p.Notifier()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Notify(t.Context(), sdktest.Event("failed")); sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "No such file") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a wrong setting is blamed", func(t *testing.T) {
		p, err := host.Launch(t.Context(), host.Command{Path: path, SocketDir: bin})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Kill()
		if err := p.Configure(t.Context(), json.RawMessage(`{"path": "events"}`)); err != nil {
			t.Fatal(err)
		}
		err = p.Validate(t.Context())
		if e, ok := err.(*sdk.Error); !ok || e.Code != sdk.Invalid || e.Field != "path" {
			t.Errorf("got %#v", err)
		}
	})
	t.Run("by hand, it says what it is", func(t *testing.T) {
		out, err := exec.Command(path).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is a plugin of the iib engine") {
			t.Errorf("got %v: %s", err, out)
		}
	})
}
