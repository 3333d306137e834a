package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A plugin that passes a limit of its block is stopped, and the request, the list
// of plugins and the log of the engine name the limit. The next request finds it
// running again.
func TestAPluginThatPassesALimit(t *testing.T) {
	t.Parallel()
	p := startWith(t, impatient(t)+
		actor(t, t.TempDir(), "handler", "actor-greedy", "limits {\n    memory = \"300MiB\"\n    cpu_time = \"5s\"\n    open_files = 80\n  }"), t.TempDir())
	for _, c := range []struct {
		what string
		says []string
		ends bool
	}{
		{"files", []string{"too many open files"}, false},
		{"memory", []string{"plugin actor-greedy ended during the call", "raise memory in the limits", "MiB of memory and may have 300"}, true},
		{"time", []string{"plugin actor-greedy ended during the call", "raise cpu_time in the limits", "of processor time and may have 5s"}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			p.awaitPlugins()
			status, answer := p.post("/api/v1/builds/take", map[string]string{"What": c.what})
			if status != http.StatusCreated {
				t.Fatalf("%d %v", status, answer)
			}
			reason := fmt.Sprint(p.wait(answer["id"])["state_reason"])
			_, plugins := p.get("/api/v1/plugins")
			for _, words := range c.says {
				if !strings.Contains(strings.ToLower(reason), strings.ToLower(words)) {
					t.Errorf("the request's reason lacks %q: %s", words, reason)
				}
			}
			if !c.ends {
				return
			}
			last := c.says[len(c.says)-1]
			for range poll(t) {
				if _, plugins = p.get("/api/v1/plugins"); strings.Contains(lastError(t, plugins, "actor-greedy"), last) {
					break
				}
			}
			if !strings.Contains(p.stderr.String(), last) {
				t.Errorf("the engine's log lacks %q", last)
			}
			p.awaitPlugins()
			_, answer = p.post("/api/v1/builds/take", map[string]string{"What": "nothing"})
			if build := p.wait(answer["id"]); build["state"] != "complete" {
				t.Errorf("the next request: %v", build["state_reason"])
			}
		})
	}
}

// lastError is what the list of plugins tells of one.
func lastError(t *testing.T, list []byte, name string) string {
	t.Helper()
	var answer struct {
		Items []struct {
			Name      string
			LastError string `json:"last_error"`
		}
	}
	if err := json.Unmarshal(list, &answer); err != nil {
		t.Fatal(err)
	}
	for _, item := range answer.Items {
		if item.Name == name {
			return item.LastError
		}
	}
	return ""
}

// What a request names is not reached in a network that is denied.
func TestARequestDoesNotReachADeniedNetwork(t *testing.T) {
	t.Parallel()
	p := startWith(t, shippedDenying(t, "127.0.0.2/32"), t.TempDir())
	r := newReleases(t, p)
	for name, body := range map[string]map[string]any{
		"the index":  {"bundles": []string{"127.0.0.2:9/a/b:v1"}, "from_index": "127.0.0.2:9/a/index:v1", "binary_image": r.base},
		"the bundle": {"bundles": []string{"127.0.0.2:9/a/b:v1"}, "binary_image": r.base, "add_arches": []string{"amd64"}},
	} {
		status, answer := p.post("/api/v1/builds/add", body)
		if status != http.StatusCreated {
			t.Fatalf("%s: %d %v", name, status, answer)
		}
		if build := p.wait(answer["id"]); build["state"] != "failed" || !strings.Contains(fmt.Sprint(build["state_reason"]), "denied network 127.0.0.2/32") {
			t.Errorf("%s: %v: %v", name, build["state"], build["state_reason"])
		}
	}
}
