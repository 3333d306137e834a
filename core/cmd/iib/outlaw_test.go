package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// actor writes the block of a plugin in a directory that behaves as the last
// part of its name says.
func actor(t testing.TB, dir, kind, name string, settings ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Symlink(example(t, "actor"), path); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("plugin %q {\n  kind = %q\n  path = %q\n  %s\n}\n", name, kind, path, strings.Join(settings, "\n  "))
}

// actors writes the blocks of plugins of several roles, as gates of the request
// type of the same name or as notifiers, and of the handler that asks the gates.
func actors(t *testing.T, kind string, roles ...string) string {
	t.Helper()
	dir := t.TempDir()
	blocks := actor(t, dir, "handler", "actor-gated")
	for _, role := range roles {
		var settings []string
		if role == "hang" {
			settings = append(settings, `timeout = "300ms"`)
		}
		if kind == "gate" {
			settings = append(settings, fmt.Sprintf("requests = [%q]", "gated-"+role))
		}
		blocks += actor(t, dir, kind, kind+"-"+role, settings...)
	}
	return blocks
}

// impatient is the shipped configuration with a queue that tries once.
func impatient(t *testing.T) string {
	t.Helper()
	return shippedWithout(t, "queue \"default\" {\n  concurrency = 4\n  timeout     = \"2h\"\n}") + "queue \"default\" {\n  concurrency = 16\n  attempts = 1\n}\n"
}

// startBroken is startWith for a configuration with plugins that cannot run.
func startBroken(t *testing.T, config string, broken int) *process {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "iib.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dataDir: t.TempDir(), config: file, bin: bin, broken: broken}
	p.start()
	t.Cleanup(func() {
		p.kill() // a stop waits for plugins that hang
		if t.Failed() {
			t.Logf("the server printed:\n%.20000s", p.stderr.String())
		}
	})
	return p
}

// hostile are the roles of plugins that misbehave, by what is said of them. The
// last three do not even start.
var hostile = []struct {
	role, gate, notifier string
}{
	{"panic", "Gate gate-panic could not decide: plugin gate-panic: Check: panic; its log tells more.", "panic; its log tells more"},
	{"crash", "Gate gate-crash could not decide: plugin gate-crash", "ended during the call"},
	{"hang", "Gate gate-hang could not decide: plugin gate-hang did not answer within 300ms.", "did not answer within 300ms"},
	{"flood", "", ""},
	{"exit", "it ended (exit status 3) before its handshake; it printed: cannot open the database", "cannot open the database"},
	{"garbage", "Gate gate-garbage could not decide: plugin gate-garbage does not run", "does not run"},
	{"old", "Gate gate-old could not decide: plugin gate-old does not run", "does not run"},
}

const neverStarts = 3

func roles() []string {
	var all []string
	for _, h := range hostile {
		all = append(all, h.role)
	}
	return all
}

func TestAHostileGateIsNeitherAPassNorADenialNorTheEnd(t *testing.T) {
	p := startBroken(t, impatient(t)+actors(t, "gate", roles()...), neverStarts)
	ids := make(map[string]any)
	for _, role := range append(roles(), "free") {
		status, answer := p.post("/api/v1/builds/gated-"+role, "{}")
		if status != http.StatusCreated {
			t.Fatalf("%s: %d %v", role, status, answer)
		}
		ids[role] = answer["id"]
	}
	for _, h := range hostile {
		t.Run(h.role, func(t *testing.T) {
			build := p.wait(ids[h.role])
			reason := fmt.Sprint(build["state_reason"])
			if h.gate == "" {
				if build["state"] != "complete" {
					t.Errorf("%v", reason)
				}
				return
			}
			if build["state"] != "failed" || !strings.Contains(reason, h.gate) || strings.Contains(reason, "denied") {
				t.Errorf("%v: %v", build["state"], reason)
			}
		})
	}
	if state := p.wait(ids["free"])["state"]; state != "complete" {
		t.Errorf("a request that no gate judges is %v", state)
	}
	p.wantStates(t, "gate")
}

func TestAHostileNotifierHoldsUpNothing(t *testing.T) {
	r := newReceiver(t)
	r.up()
	p := startBroken(t, impatient(t)+actors(t, "notifier", roles()...)+r.config(), neverStarts)
	var ids []int64
	for range 5 {
		_, answer := p.post("/api/v1/builds/gated-free", "{}")
		id, _ := answer["id"].(float64)
		ids = append(ids, int64(id))
	}
	for _, id := range ids {
		if state := p.wait(id)["state"]; state != "complete" {
			t.Errorf("request %d is %v", id, state)
		}
	}
	want := make(map[string]string)
	for _, h := range hostile {
		want["notifier-"+h.role] = h.notifier
	}
	want["webhook-notify"] = ""
	var body []byte
	defer func() {
		if t.Failed() {
			t.Logf("the notifiers are %s", body)
		}
	}()
	for range poll(t) {
		var answer struct{ Items []standing }
		if _, body = p.get("/api/v1/notifiers"); json.Unmarshal(body, &answer) != nil {
			continue
		}
		good := 0
		for _, n := range answer.Items {
			said, ok := want[n.Name]
			switch {
			case !ok:
				t.Fatalf("nobody asked for notifier %s", n.Name)
			case said == "" && n.Behind+n.Waiting+n.Parked == 0 && n.LastError == nil:
				good++
			case said != "" && n.LastError != nil && strings.Contains(*n.LastError, said) && n.Behind+n.Waiting+n.Parked > 0:
				good++
			}
		}
		if good == len(want) {
			break
		}
	}
	if repeated := checkPosts(t, p, r.got(), ids); repeated != 0 {
		t.Errorf("the good notifier was told %d times too often", repeated)
	}
	p.wantStates(t, "notifier")
}

// wantStates compares what the list of plugins says of hostile ones.
func (p *process) wantStates(t *testing.T, kind string) {
	t.Helper()
	var answer struct {
		Items []struct {
			Name, Kind, Version, Checksum, State string
			Restarts                             int
			LastError                            string `json:"last_error"`
		}
	}
	_, body := p.get("/api/v1/plugins")
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	says := map[string]string{
		"crash": "the process ended by itself", "exit": "cannot open the database", "garbage": "handshake", "old": "version",
	}
	seen := 0
	for _, item := range answer.Items {
		role, ok := strings.CutPrefix(item.Name, kind+"-")
		if !ok {
			if item.State != "running" || item.Restarts != 0 || item.LastError != "" || len(item.Checksum) != 64 || item.Version == "" {
				t.Errorf("a good plugin: %+v", item)
			}
			continue
		}
		seen++
		said := says[role]
		if item.Kind != kind || (said == "") != (item.Restarts == 0) || !strings.Contains(item.LastError, said) {
			t.Errorf("%+v", item)
		}
	}
	if seen != len(hostile) {
		t.Errorf("%d of %d hostile plugins are listed", seen, len(hostile))
	}
}
