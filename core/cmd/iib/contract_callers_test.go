package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// callersConfig lets everybody in, takes no logs, and trusts this machine as a
// proxy.
const callersConfig = contractConfig + patientQueue + `
artifacts { logs = false }
api {
  max_wait  = "300ms"
  page_size = 3
}
`

// TestContractOfCallers is what depends on who calls, from where, and what the
// server lets them do (sections 2.4, 2.13, 4.3 and 6).
func TestContractOfCallers(t *testing.T) {
	shipped := strings.Replace(shippedWithout(t, "plugin \"index-add\" {\n  kind = \"handler\"\n}\n"), "server {\n", `server {
  trusted_proxies = ["127.0.0.1/32"]
`, 1)
	config := strings.Replace(shipped+callersConfig, "access {\n", "access {\n  force_overwrite = true\n", 1) + `
plugin "index-add" {
  kind = "handler"
  config { binary_images = { prod = { "v4.14" = "q.invalid/bin:1" } } }
}
`
	r := newReleases(t, startWith(t, config, t.TempDir()))
	post := func(path, user, body string, headers ...string) (int, http.Header, map[string]any) {
		t.Helper()
		h := map[string]string{}
		if user != "" {
			h[identityHeader] = user
		}
		for i := 0; i < len(headers); i += 2 {
			h[headers[i]] = headers[i+1]
		}
		method := http.MethodPost
		if strings.Count(path, "/") == 2 && path[8] >= '0' && path[8] <= '9' {
			method = http.MethodPatch
		}
		status, header, data := r.do(method, "/api/v1"+path, body, h)
		var answer map[string]any
		if err := json.Unmarshal(data, &answer); err != nil {
			t.Fatalf("%d: %s", status, data)
		}
		return status, header, answer
	}
	want := func(rule string, status, expected int, answer map[string]any) {
		t.Helper()
		if status != expected {
			t.Errorf("%s: got %d, want %d: %v", rule, status, expected, answer)
		}
	}
	const index = `"from_index":"q.invalid/i:1"`

	status, _, build := post("/builds/add", "", `{`+index+`,"overwrite_from_index":true}`)
	want("6, C10, 2.4: nobody overwrites without a token, with the default binary image", status, 201, build)
	if build["user"] != nil || build["binary_image"] != nil {
		t.Errorf("user %v, binary_image %v", build["user"], build["binary_image"])
	}
	if _, ok := build["logs"]; ok {
		t.Error("3.1: a server without logs shows where they are")
	}
	id := strconv.Itoa(int(build["id"].(float64)))
	status, _, answer := post("/builds/add", jane, `{`+index+`,"overwrite_from_index":true}`)
	want("6: who is presented has to obey the rules", status, 403, answer)
	status, _, answer = post("/builds/"+id, jane, `{"arches":["amd64"]}`)
	want("5.1: who is presented must be a worker", status, 403, answer)
	status, _, answer = post("/builds/"+id, "", `{"arches":["amd64"]}`)
	want("5.1: nobody may patch", status, 200, answer)
	status, _, answer = post("/builds/rm", "", `{"operators":["a"],`+index+`}`)
	want("C13: rm has no default for the binary image", status, 400, answer)
	for _, path := range []string{id, "99999999"} {
		if status, data := r.get("/api/v1/builds/" + path + "/logs"); status != http.StatusNotFound || errorOf(data) == "" {
			t.Errorf("4.3: logs that are not kept: %d %s", status, data)
		}
	}
	if status, data := r.get("/api/v1/builds"); status != http.StatusOK || !strings.Contains(string(data), `"per_page":3`) {
		t.Errorf("page_size is not in force: %d %s", status, data)
	}

	t.Run("a header of a variable's name is not the variable", func(t *testing.T) {
		for _, name := range []string{"REMOTE_USER", "Remote-User", "X-Forwarded-User"} {
			if _, _, build := post("/builds/add", "", `{`+index+`}`, name, jane); build["user"] != nil {
				t.Errorf("%s makes %v", name, build["user"])
			}
		}
	})
	t.Run("a principal is taken as it is", func(t *testing.T) {
		if _, _, build := post("/builds/add", "jane/Admin@EXAMPLE.com", `{`+index+`}`); build["user"] != "jane/Admin@EXAMPLE.com" {
			t.Errorf("%v", build["user"])
		}
	})
	t.Run("a trusted proxy tells the client's scheme and host", func(t *testing.T) {
		_, header, build := post("/builds/regenerate-bundle", "", `{"from_bundle_image":"q.invalid/b:1"}`,
			"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example.com, iib.example.com", "X-Request-Id", "from-the-proxy-1")
		related, _ := build["related_bundles"].(map[string]any)
		if address := fmt.Sprintf("https://iib.example.com/api/v1/builds/%v/related_bundles", build["id"]); related["url"] != address {
			t.Errorf("got %v, want %s", related["url"], address)
		}
		if id := header.Get("X-Request-Id"); id != "from-the-proxy-1" {
			t.Errorf("the request ID is %q", id)
		}
		// What the server prints comes through a pipe, after the answer perhaps.
		for range poll(t) {
			if strings.Contains(r.stderr.String(), "http_request=from-the-proxy-1") {
				break
			}
		}
		status, _, data := r.do(http.MethodGet, "/api/v1/builds?page=1", "", map[string]string{"Forwarded": `proto=https;host="[2001:db8::1]:8443"`})
		if status != http.StatusOK || !strings.Contains(string(data), `"first":"https://[2001:db8::1]:8443/api/v1/builds?page=1`) {
			t.Errorf("%d %s", status, data)
		}
	})
	t.Run("waiting ends in time", func(t *testing.T) {
		_, _, build := post("/builds/add", patient, fmt.Sprintf(`{"from_index":"%s/i:1","binary_image":"q.invalid/bin:1"}`, hangingRegistry(t)))
		began := time.Now()
		status, data := r.get(fmt.Sprintf("/api/v1/builds/%v?wait=100", build["id"]))
		if took := time.Since(began); status != http.StatusOK || took < 300*time.Millisecond || took > 20*time.Second {
			t.Errorf("answered %d after %v: %s", status, took, data)
		}
		for _, bad := range []string{"x", "-1", "NaN"} {
			if status, data := r.get(fmt.Sprintf("/api/v1/builds/%v?wait=%s", build["id"], bad)); status != http.StatusBadRequest || !strings.Contains(errorOf(data), "wait") {
				t.Errorf("wait=%s: %d %s", bad, status, data)
			}
		}
	})
	t.Run("what privileged users add overwrites", func(t *testing.T) {
		from := r.catalogIndex("forced:v4.14", catalogtest.Spec{Packages: 2, Bundles: 1, Text: 100}, "amd64")
		name := catalogtest.Spec{Packages: 2, Bundles: 1, Text: 100}.Name(0)
		body := fmt.Sprintf(`{"operators":[%q],"from_index":%q,"binary_image":%q,"overwrite_from_index":false}`, name, from, r.base)
		_, _, forced := post("/builds/rm", root, body)
		if done := r.wait(forced["id"]); done["state"] != "complete" || done["index_image"] != from {
			t.Errorf("the request of a privileged user: %v", done)
		}
		_, _, plain := post("/builds/rm", jane, body)
		if done := r.wait(plain["id"]); done["state"] != "complete" || done["index_image"] == from {
			t.Errorf("the request of another: %v", done)
		}
	})
	t.Run("too many submissions are refused for a while", func(t *testing.T) {
		r.reload(strings.Replace(config, "api {\n", "api {\n  requests_per_minute = 3\n", 1))
		item := `{"operators":["a"],` + index + `,"binary_image":"q.invalid/bin:1"}`
		submit := func(user string) (int, http.Header, []byte) {
			return r.do(http.MethodPost, "/api/v1/builds/rm", item, map[string]string{identityHeader: user})
		}
		for i := range 3 {
			if status, _, data := submit(jane); status != http.StatusCreated {
				t.Fatalf("submission %d: %d %s", i, status, data)
			}
		}
		status, header, data := submit(jane)
		if seconds, err := strconv.Atoi(header.Get("Retry-After")); status != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > 20 || errorOf(data) == "" {
			t.Errorf("one too many: %d, Retry-After %q: %s", status, header.Get("Retry-After"), data)
		}
		if status, _, data := submit(root); status != http.StatusCreated {
			t.Errorf("another user: %d %s", status, data)
		}
		batch := `{"build_requests":[` + item + `,` + item + `,` + item + `,` + item + `]}`
		for i, want := range []int{http.StatusCreated, http.StatusTooManyRequests} {
			if status, _, data := r.do(http.MethodPost, "/api/v1/builds/add-rm-batch", batch, map[string]string{identityHeader: worker}); status != want {
				t.Errorf("batch %d: %d %s", i, status, data)
			}
		}
		// Callers without a user are told apart by their address.
		for address, want := range map[string]int{"192.0.2.1": 4, "192.0.2.2": 1} {
			last := 0
			for range want {
				last, _, _ = r.do(http.MethodPost, "/api/v1/builds/rm", item, map[string]string{"X-Forwarded-For": address})
			}
			if (last == http.StatusTooManyRequests) != (want == 4) {
				t.Errorf("%s: %d after %d submissions", address, last, want)
			}
		}
	})
}
