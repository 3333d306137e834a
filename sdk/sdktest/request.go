package sdktest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Request returns an accepted request. params is encoded as JSON; it panics
// for what cannot be.
func Request(requestType string, params any) sdk.Request {
	return sdk.Request{
		ID:       1,
		Type:     requestType,
		User:     "tester@EXAMPLE.COM",
		Batch:    1,
		Queue:    "default",
		Params:   encode(params),
		Accepted: time.Date(2024, time.May, 6, 7, 8, 9, 0, time.UTC),
		Attempt:  1,
	}
}

// Submission returns a submission on its way to Accept. body is encoded as
// JSON; it panics for what cannot be.
func Submission(requestType string, body any) *sdk.Submission {
	return &sdk.Submission{Type: requestType, User: "tester@EXAMPLE.COM", Body: encode(body)}
}

func encode(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("sdktest: encode %T: %v", v, err))
	}
	return data
}

// NewJob returns a job with a workspace and a cache directory that vanish with
// the test. What the handler asks of it goes to r.
func NewJob(t testing.TB, request sdk.Request, r *Recorder) *sdk.Job {
	t.Helper()
	workspace := t.TempDir()
	r.mu.Lock()
	r.workspace = workspace
	r.mu.Unlock()
	return sdk.NewJob(request, workspace, t.TempDir(), r)
}

// GateRequest returns a request to add the images that have these pull specs.
// Each is resolved to a digest, which is made up if the spec has none.
func GateRequest(images ...string) *sdk.GateRequest {
	r := &sdk.GateRequest{Request: Request("add", map[string]any{"bundles": images})}
	for _, spec := range images {
		resolved := spec
		if !strings.Contains(spec, "@") {
			resolved = repositoryOf(spec) + "@" + digestOf(spec)
		}
		r.Images = append(r.Images, sdk.Image{Spec: spec, Resolved: resolved})
	}
	return r
}

// Event returns the event of a request that has entered a state.
func Event(state string) *sdk.Event {
	return &sdk.Event{
		ID: "1", Kind: sdk.RequestState, Time: time.Date(2024, time.May, 6, 7, 8, 9, 0, time.UTC), Delivery: 1,
		Request: 1, Batch: 1, State: state, User: "tester@EXAMPLE.COM",
		Body: encode(map[string]any{"id": 1, "batch": 1, "state": state}),
	}
}

// Bundle writes files, by their path below a bundle's directory, such as
// "manifests/etcd.clusterserviceversion.yaml", and returns the bundle. What the
// customizer asks of it goes to r.
func Bundle(t testing.TB, files map[string]string, r *Recorder) *sdk.Bundle {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	for _, name := range []string{"manifests", "metadata"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := &sdk.Bundle{Dir: dir, Image: "registry.example/bundle@" + digestOf(files), Package: "etcd"}
	return b.WithHost(r)
}
