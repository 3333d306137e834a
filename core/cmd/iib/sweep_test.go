package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files go when their time is over, and those of a running request stay.
func TestExpiredFilesAreRemoved(t *testing.T) {
	t.Parallel()
	p := startServer(t, echoes(t, "artifacts {\n  keep = \"3s\"\n}\n"))
	files := func() []string {
		found, err := filepath.Glob(filepath.Join(p.dataDir, "artifacts", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	id := p.echo(1)[0]
	if state := p.wait(id)["state"]; state != "complete" {
		t.Fatalf("the request is %v", state)
	}
	for range poll(t) {
		if len(files()) == 0 {
			break
		}
	}
	if status, body := p.get(fmt.Sprintf("/api/v1/builds/%d/logs", id)); status != http.StatusGone {
		t.Errorf("the log of files that are gone: %d %s", status, body)
	}

	// The command looks at the same things without an engine.
	p.stop()
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.config, []byte(strings.Replace(string(config), `"3s"`, `"72h"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	id = p.echo(1)[0]
	p.wait(id)
	p.stop()
	if out := p.want(exitOK, []string{"REQUEST"}, "sweep", "--dry-run", "--config", p.config); strings.Contains(out, fmt.Sprint(id)) {
		t.Errorf("files that are kept would be removed:\n%s", out)
	}
	if err := os.WriteFile(p.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	expired := fmt.Sprintf("\n%d ", id)
	for range poll(t) {
		if out := p.want(exitOK, nil, "sweep", "--dry-run", "--config", p.config); strings.Contains(out, expired) {
			break
		}
	}
	if len(files()) == 0 {
		t.Error("a dry run removed the files")
	}
	p.want(exitOK, []string{expired}, "sweep", "--config", p.config)
	if left := files(); len(left) > 0 {
		t.Errorf("the sweep left %v", left)
	}
}
