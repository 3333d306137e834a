package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestGatesAreAskedInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blocks := actor(t, dir, "handler", "actor-gated")
	for _, gate := range []string{"z-allow", "m-deny", "a-allow"} {
		blocks += actor(t, dir, "gate", gate, `requests = ["gated-order"]`)
	}
	p := startWith(t, impatient(t)+blocks, t.TempDir())
	status, answer := p.post("/api/v1/builds/gated-order", "{}")
	if status != http.StatusCreated {
		t.Fatalf("%d %v", status, answer)
	}
	build := p.wait(answer["id"])
	want := "Gate m-deny denied the request: The tests of this bundle did not run. Run them and submit it again."
	if build["state"] != "failed" || build["state_reason"] != want {
		t.Errorf("%v: %v", build["state"], build["state_reason"])
	}
	_, log := p.get(fmt.Sprintf("/api/v1/builds/%v/logs", answer["id"]))
	if !strings.Contains(string(log), "gate z-allow allowed the request") || strings.Contains(string(log), "a-allow") {
		t.Errorf("the log is:\n%s", log)
	}
}

// reload puts another configuration in force.
func (p *process) reload(config string) {
	p.t.Helper()
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		p.t.Fatal(err)
	}
	before := strings.Count(p.stderr.String(), "the configuration was reloaded")
	if err := p.command.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	for range poll(p.t) {
		if strings.Count(p.stderr.String(), "the configuration was reloaded") > before {
			return
		}
	}
}

func TestASwitchedOffPluginServesTheRequestsThatHaveIt(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t)
	r.up()
	config := func(enabled bool) string {
		setting := fmt.Sprintf("enabled = %t", enabled)
		// The links are the same: the second time they are there.
		_ = os.Remove(filepath.Join(dir, "actor-gated"))
		_ = os.Remove(filepath.Join(dir, "gate-wait"))
		notifier := strings.Replace(r.config(), `kind = "notifier"`, "kind = \"notifier\"\n  "+setting, 1)
		return impatient(t) + actor(t, dir, "handler", "actor-gated") +
			actor(t, dir, "gate", "gate-wait", `requests = ["gated-wait"]`, setting) + notifier
	}
	p := startWith(t, config(true), t.TempDir())
	submit := func() any {
		t.Helper()
		status, answer := p.post("/api/v1/builds/gated-wait", "{}")
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		return answer["id"]
	}
	running := submit()
	for range poll(t) {
		if _, err := os.Stat(filepath.Join(dir, "gate-wait.asked")); err == nil {
			break
		}
	}
	p.awaitDelivered()
	pids := p.pids("gate-wait")
	if len(pids) != 1 {
		t.Fatalf("the gate's processes are %v", pids)
	}
	p.reload(config(false))
	if _, plugins := p.get("/api/v1/plugins"); strings.Contains(string(plugins), "gate-wait") {
		t.Errorf("the list has %s", plugins)
	}
	later := submit()
	if build := p.wait(later); build["state"] != "complete" {
		t.Errorf("a request after the reload is %v: %v", build["state"], build["state_reason"])
	}
	if _, body := p.get(fmt.Sprintf("/api/v1/builds/%v", running)); !strings.Contains(string(body), `"state":"in_progress"`) {
		t.Errorf("the request that has the gate is %s", body)
	}
	if err := os.WriteFile(filepath.Join(dir, "gate-wait.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if build := p.wait(running); build["state"] != "complete" {
		t.Errorf("the request that has the gate is %v: %v", build["state"], build["state_reason"])
	}
	if _, log := p.get(fmt.Sprintf("/api/v1/builds/%v/logs", running)); !strings.Contains(string(log), "gate gate-wait allowed the request") {
		t.Errorf("its log is:\n%s", log)
	}
	for range poll(t) {
		if len(p.pids("gate-wait")) == 0 {
			break
		}
	}
	if s := p.standing(); s.Enabled || s.Behind == 0 {
		t.Errorf("the notifier that is switched off is %+v", s)
	}
	p.reload(config(true))
	p.awaitDelivered()
	first, _ := running.(float64)
	second, _ := later.(float64)
	if repeated := checkPosts(t, p, r.got(), []int64{int64(first), int64(second)}); repeated != 0 {
		t.Errorf("%d posts were made twice", repeated)
	}
}
