// Package distribution runs Debian's docker-registry: a real registry that
// checks what it is given, races as real ones do, and keeps no history.
package distribution

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// patience is how long the registry may take to answer.
const patience = time.Minute

// Start starts a registry that ends with the test, and returns its host. Where
// the program is missing the test ends.
func Start(t testing.TB) (host string) {
	t.Helper()
	program := real.Program(t, "docker-registry")
	host = loopback.Address(t)
	dir := t.TempDir()
	settings := filepath.Join(dir, "config.yml")
	err := os.WriteFile(settings, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  delete: {enabled: true}
  filesystem: {rootdirectory: %q}
http: {addr: %q}
`, filepath.Join(dir, "storage"), host), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	server, err := child.Start(exec.Command(program, "serve", settings))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Kill()
		_ = server.Wait()
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	for deadline := time.After(patience); ; {
		resp, err := client.Get("http://" + host + "/v2/")
		if err == nil {
			resp.Body.Close()
			return host
		}
		select {
		case <-tick.C:
		case <-server.Exited():
			t.Fatalf("docker-registry has ended: %v", server.Wait())
		case <-deadline:
			t.Fatalf("docker-registry does not answer: %v", err)
		}
	}
}
