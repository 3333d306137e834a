package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/iib-engine/iib/sdk/host"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// TestTheGateRunsFromAModuleOfItsOwn does what the guide tells a reader to do,
// with this tree in the place of a published version.
func TestTheGateRunsFromAModuleOfItsOwn(t *testing.T) {
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// With the tree's own requirements nothing has to be looked up that is not
	// in the module cache, since this test runs.
	for from, to := range map[string]string{"allowlist-gate/main.go": "main.go", filepath.Join(tree, "go.sum"): "go.sum", filepath.Join(tree, "go.mod"): "go.mod"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(bin, "gate-of-a-module")
	for _, args := range [][]string{
		{"mod", "edit", "-module=example.com/allowlist-gate", "-require=github.com/iib-engine/iib@v0.0.0", "-replace=github.com/iib-engine/iib=" + tree},
		{"build", "-mod=mod", "-ldflags", "-s -w", "-o", path, "."},
	} {
		command := exec.Command("go", args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOWORK=off")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	p, err := host.Launch(t.Context(), host.Command{Path: path, SocketDir: bin})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := p.Configure(t.Context(), []byte(`{"registries": ["quay.io"]}`)); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context(), sdktest.NewHost(t)); err != nil {
		t.Fatal(err)
	}
	g, err := p.Gate()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := g.Check(t.Context(), sdktest.GateRequest("docker.io/a/b:1")); err != nil || got.Allowed {
		t.Errorf("got %+v, %v", got, err)
	}
}
