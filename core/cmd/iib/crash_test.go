package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pids are the processes that run a program of this server.
func (p *process) pids(program string) []int {
	p.t.Helper()
	out, _ := exec.Command("pgrep", "-P", strconv.Itoa(p.command.Process.Pid)).Output()
	var found []int
	for _, field := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		// A plugin is executed through a descriptor, so its name is in its
		// command line, not in the link to its program.
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), program) {
			found = append(found, pid)
		}
	}
	return found
}

func TestARequestSurvivesWhatDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		die  func(t *testing.T, r *releases)
	}{
		{"its plugin, killed", func(t *testing.T, r *releases) {
			pids := r.pids("index-add")
			if len(pids) == 0 {
				t.Fatal("the plugin's process was not found")
			}
			for _, pid := range pids {
				process, err := os.FindProcess(pid)
				if err != nil {
					t.Fatal(err)
				}
				_ = process.Kill()
			}
		}},
		{"the builder, killed", func(t *testing.T, r *releases) {
			for _, pid := range r.pids("image-builder") {
				process, err := os.FindProcess(pid)
				if err != nil {
					t.Fatal(err)
				}
				_ = process.Kill()
			}
		}},
		{"the server, killed", func(t *testing.T, r *releases) {
			r.kill()
			r.start()
		}},
		{"the server, stopped", func(t *testing.T, r *releases) {
			r.stop()
			r.start()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReleases(t, startServer(t, ""))
			index := r.emptyIndex("index:v4.14", fileBased, false)
			specs, list := r.bundles(1, 4)
			status, answer := r.post("/api/v1/builds/add", map[string]any{
				"bundles": specs, "from_index": index, "binary_image": r.base, "overwrite_from_index": true,
			})
			if status != http.StatusCreated {
				t.Fatalf("%d %v", status, answer)
			}
			r.awaitReason(answer["id"], "Resolving the container images")
			c.die(t, r)
			build := r.wait(answer["id"])
			if build["state"] != "complete" {
				t.Fatalf("%v", build["state_reason"])
			}
			if diff := cmp.Diff(names(list), r.contents(index)); diff != "" {
				t.Error(diff)
			}
			complete := 0
			for _, entry := range build["state_history"].([]any) {
				if entry.(map[string]any)["state"] == "complete" {
					complete++
				}
			}
			if complete != 1 {
				t.Errorf("the request was completed %d times", complete)
			}
			for range poll(t) {
				left, err := filepath.Glob(filepath.Join(r.dataDir, "work", "*", "request-*"))
				if err != nil {
					t.Fatal(err)
				}
				if len(left) == 0 {
					break
				}
			}
		})
	}
}

// awaitReason returns when a request was in a state with this reason.
func (p *process) awaitReason(id any, reason string) {
	p.t.Helper()
	for range poll(p.t) {
		_, body := p.get(fmt.Sprintf("/api/v1/builds/%v", id))
		if strings.Contains(string(body), reason) || strings.Contains(string(body), `"state":"failed"`) {
			return
		}
	}
}

func TestNothingOutlivesAKilledServer(t *testing.T) {
	// A socket's address must be short, which a test's directory need not be.
	temporary, err := os.MkdirTemp("", "iib-t-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temporary) })
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dataDir: t.TempDir(), bin: bin, config: filepath.Join(t.TempDir(), "iib.hcl"), env: []string{"TMPDIR=" + temporary}}
	if err := os.WriteFile(p.config, []byte(shippedWithout(t, "#   check it:    bin/iib validate iib.hcl\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(func() { p.stop() })
	var pids []int
	for _, program := range []string{"index-add", "image-builder", "registry"} {
		pids = append(pids, p.pids(program)...)
	}
	if len(pids) < 3 {
		t.Fatalf("found %d plugins", len(pids))
	}
	p.kill()
	for _, pid := range pids {
		for range poll(t) {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
				break
			}
		}
	}
	sockets := func() []string {
		found, err := filepath.Glob(filepath.Join(temporary, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	before := sockets()
	p.start()
	if after := sockets(); len(before) != 1 || len(after) != 1 || after[0] == before[0] {
		t.Errorf("%v became %v", before, after)
	}
	p.stop()
	if left := sockets(); len(left) > 0 {
		t.Errorf("a server that was stopped left %v", left)
	}
}
