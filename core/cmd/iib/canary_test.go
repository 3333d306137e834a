package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/iib-engine/iib/sdk/image/imagetest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
)

// canaries are secrets that must not be found anywhere, by what they are.
type canaries map[string]string

// in returns the canaries that are in some data, as they are or in base64.
func (c canaries) in(data []byte) (found []string) {
	for name, secret := range c {
		forms := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))}
		if _, password, ok := strings.Cut(secret, ":"); ok {
			forms = append(forms, password)
		}
		for _, form := range forms {
			if bytes.Contains(data, []byte(form)) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// No credential that a requester, an operator or a plugin's settings bring is
// left in clear anywhere, be the requests complete, failed, cancelled or running.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	rabbitmq.Need(t)
	t.Parallel()
	secret := canaries{
		"overwrite_from_index_token": "robot:canary-overwrite-7f3a",
		"registry_auths":             "user:canary-auths-91bc",
		"cnr_token":                  "basic canary-cnr-55d0",
		"the auth file":              "engine:canary-authfile-2e81",
		"a webhook's secret":         "canary-webhook-c4419f07",
		"the sealing key":            strings.Repeat("c4a7a27e", 8),
		"who pushes manifests":       "pusher:canary-omps-6c1e",
		"Quay's token of omps":       "canary-oauth-18d7",
		"the broker's password":      rabbitmq.Password,
	}
	private := newGuarded(t, "canary-auths-91bc")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tokens := filepath.Join(dir, "tokens")
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	token, line, code := (&process{t: t, bin: bin}).cli("token", "ada")
	if code != exitOK {
		t.Fatal(line)
	}
	secret["an identity token"] = strings.TrimSpace(token)
	write("tokens", line)

	quay := httptest.NewServer(quayOf(t, secret))
	defer quay.Close()
	broker, pushAddress := rabbitmq.New(t), loopback.Address(t)
	cert, key := broker.Authority.Issue(rabbitmq.User)
	var posts bytes.Buffer
	var mu sync.Mutex
	e := newEstate(t, 1, 1, func(e *estate, config string) string {
		e.secretive = true
		database, err := url.Parse(e.database)
		if err != nil {
			t.Fatal(err)
		}
		secret["the database's password"], _ = database.User.Password()
		record := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			_ = r.Header.Write(&posts)
			posts.Write(body)
		})
		e.receiver.answer.Store(&record)
		auths := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, e.host, base64.StdEncoding.EncodeToString([]byte(secret["the auth file"])))
		return strings.NewReplacer(
			"identity \"header\" {\n  header = \"X-Remote-User\"\n  from   = [\"127.0.0.0/8\"]\n}", fmt.Sprintf("identity \"tokens\" { file = %q }", tokens),
			`env("IIB_DATABASE_URL")`, fmt.Sprintf("file(%q)", write("database", e.database)),
			`env("IIB_REDIS_URL")`, fmt.Sprintf("%q", e.redis.URL()),
			`env("IIB_TEST_KEY")`, fmt.Sprintf("file(%q)", write("key", secret["the sealing key"])),
			`"a secret of this test"`, fmt.Sprintf("file(%q)", write("webhook", secret["a webhook's secret"])),
			"  push       =", fmt.Sprintf("  auth_file  = %q\n  push       =", write("auth.json", auths)),
			e.host+"\"]", fmt.Sprintf("%s\", %q]", e.host, private.host),
		).Replace(config) + pushBlock(pushAddress, fmt.Sprintf(`    target  = "cnr"
    cnr_url = %q
    organization "shown" {
      public      = true
      oauth_token = file(%q)
    }`, quay.URL, write("oauth", secret["Quay's token of omps"]))) + fmt.Sprintf(`
plugin "amqp-notify" {
  kind = "notifier"
  config {
    urls              = ["amqps://%s", %q]
    build_destination = %q
    ca_file           = %q
    cert_file         = %q
    key_file          = %q
    username          = %q
    password          = file(%q)
  }
}
`, loopback.Address(t), broker.Secure(), rabbitmq.BuildQueue, broker.Authority.CA, cert, key, rabbitmq.User, write("password", rabbitmq.Password))
	})
	api := &process{t: t, url: e.urls[0]}
	var answers bytes.Buffer
	ask := func(method, path string, body any) map[string]any {
		t.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		status, _, answer := api.do(method, path, string(data), map[string]string{"Authorization": "Bearer " + secret["an identity token"]})
		answers.Write(answer)
		var object map[string]any
		if err := json.Unmarshal(answer, &object); err != nil || status == http.StatusUnauthorized {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
		return object
	}
	end := func(id any) string {
		t.Helper()
		for range poll(t) {
			build := ask(http.MethodGet, fmt.Sprintf("/api/v1/builds/%v?wait=5", id), nil)
			if state := build["state"]; state != "in_progress" {
				return fmt.Sprint(state, ": ", build["state_reason"])
			}
		}
		return ""
	}
	index := e.emptyIndex("index:v4.14", fileBased, false)
	look := func(moment string) {
		t.Helper()
		mu.Lock()
		places := map[string][]byte{"the posts of the notifier": bytes.Clone(posts.Bytes())}
		mu.Unlock()
		places["the answers of the API"] = answers.Bytes()
		places["the database"] = e.postgres.Dump(e.database)
		places["Redis"] = e.redis.Dump()
		for _, k := range append(e.apis, e.workers...) {
			places["the log of "+k.name] = []byte(k.all())
			e.readAll(places, k.dataDir)
		}
		e.readAll(places, e.artifacts)
		e.readAll(places, e.temporary)
		processes := 0
		for _, k := range append(e.apis, e.workers...) {
			for _, pid := range append(k.plugins(), k.process.PID()) {
				for _, file := range []string{"cmdline", "environ"} {
					data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
					if err == nil {
						places[fmt.Sprintf("%s of process %d", file, pid)] = data
						processes++
					}
				}
			}
		}
		if processes < 10 || len(places["the database"]) < 10_000 || len(places["Redis"]) < 100 {
			t.Errorf("%s: there is hardly anything to look at", moment)
		}
		for _, place := range []string{"the database", "the answers of the API", "the posts of the notifier"} {
			if control := (canaries{"control": index}); len(control.in(places[place])) == 0 {
				t.Errorf("%s: %s does not have what is no secret", moment, place)
			}
		}
		for place, data := range places {
			if found := secret.in(data); len(found) > 0 {
				t.Errorf("%s: %s has %v", moment, place, found)
			}
		}
	}

	good, _ := e.bundles(1, 1)
	add := func(bundle string) map[string]any {
		return map[string]any{
			"bundles": []string{bundle}, "from_index": index, "binary_image": e.base, "overwrite_from_index": true,
			"overwrite_from_index_token": secret["overwrite_from_index_token"], "cnr_token": secret["cnr_token"],
		}
	}
	operand := e.push("operand:v1", imagetest.Image{})
	push := func(name string, images ...string) string {
		spec := "/private/" + name
		if _, err := e.pusher.Push(t.Context(), private.open+spec, imagetest.Image{
			Arches: imagetest.Arches, Files: bundleFiles(images...), Labels: map[string]string{isBundleLabel: "true"},
		}); err != nil {
			t.Fatal(err)
		}
		return private.host + spec
	}
	regenerate := func(spec, credentials string) map[string]any {
		return map[string]any{"from_bundle_image": spec, "registry_auths": map[string]any{"auths": map[string]any{
			private.host: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte(credentials))},
		}}}
	}
	for _, c := range []struct {
		name, requestType string
		body              map[string]any
		state             string
	}{
		{"an add that succeeds", "add", add(good[0]), "complete"},
		{"an add that fails", "add", add(e.registry() + "/release/missing:v1"), "failed"},
		{"an add that may not read", "add", add(push("etcd:v1", operand)), "failed"},
		{"a bundle that is regenerated", "regenerate-bundle", regenerate(push("etcd:v1", operand), secret["registry_auths"]), "complete"},
		{"a bundle that is not there", "regenerate-bundle", regenerate(private.host+"/private/missing:v1", secret["registry_auths"]), "failed"},
		{"credentials that are refused", "regenerate-bundle", regenerate(push("etcd:v1", operand), "user:"+secret["registry_auths"]), "failed"},
	} {
		id := ask(http.MethodPost, "/api/v1/builds/"+c.requestType, c.body)["id"]
		if got := end(id); !strings.HasPrefix(got, c.state) {
			t.Errorf("%s: %s", c.name, got)
		}
		_, _, log := api.do(http.MethodGet, fmt.Sprintf("/api/v1/builds/%v/logs", id), "", map[string]string{"Authorization": "Bearer " + secret["an identity token"]})
		answers.Write(log)
	}
	for _, c := range []struct {
		what, path, credentials string
		status                  int
	}{
		{"a push of manifests", "/v2/shown/zipfile", secret["who pushes manifests"], http.StatusOK},
		{"a push that Quay refuses", "/v2/shown/zipfile", "x" + secret["who pushes manifests"], http.StatusForbidden},
		{"a push whose repository stays private", "/v2/shown/zipfile/2.0.0", secret["who pushes manifests"], http.StatusInternalServerError},
	} {
		user, password, _ := strings.Cut(c.credentials, ":")
		pusher := &pusher{t: t, base: "http://" + pushAddress, client: http.DefaultClient, auth: basicAuth(user, password)}
		status, answer := pusher.push(c.path, "manifests.zip", zipOf(t, operatorFiles("web", "1.0.0")))
		if status != c.status {
			t.Errorf("%s: %d %v", c.what, status, answer)
		}
		fmt.Fprintln(&answers, answer)
	}
	// Six requests have begun and ended.
	fmt.Fprintln(&answers, broker.Receive(t, rabbitmq.BuildQueue, 12))
	look("after requests of all kinds")

	// What is refused is not shown either.
	for _, wrong := range []any{[]string{secret["overwrite_from_index_token"]}, map[string]string{"x": secret["overwrite_from_index_token"]}} {
		body := add(good[0])
		body["overwrite_from_index_token"] = wrong
		ask(http.MethodPost, "/api/v1/builds/add", body)
	}
	ask(http.MethodPost, "/api/v1/builds/regenerate-bundle", map[string]any{"from_bundle_image": "x", "registry_auths": secret["registry_auths"]})
	for _, header := range []string{"Bearer x" + secret["an identity token"], "Basic " + secret["an identity token"]} {
		_, _, answer := api.do(http.MethodGet, "/api/v1/builds", "", map[string]string{"Authorization": header})
		answers.Write(answer)
	}

	// While a request runs its secrets are kept, and sealed.
	held, _ := e.bundles(2, 1)
	host, waits, open := e.held(held[0])
	body := add(strings.Replace(held[0], e.registry(), host, 1))
	id := ask(http.MethodPost, "/api/v1/builds/add", body)["id"]
	await(t, waits)
	if kept := e.postgres.Query(e.database, "SELECT count(*) FROM secrets"); kept[0] != "1" {
		t.Errorf("%s requests have secrets", kept[0])
	}
	look("while a request runs")
	e.postgres.Crash()
	e.postgres.Start()
	for range poll(t) {
		if status, _ := api.get("/readyz"); status == http.StatusOK {
			break
		}
	}
	ask(http.MethodPost, fmt.Sprintf("/api/v1/builds/%v/cancel", id), map[string]any{})
	open()
	if got := end(id); !strings.HasPrefix(got, "failed") {
		t.Errorf("the cancelled request is %s", got)
	}
	if kept := e.postgres.Query(e.database, "SELECT count(*) FROM secrets"); kept[0] != "0" {
		t.Errorf("%s requests have ended and still have secrets", kept[0])
	}
	look("after a crash and a cancellation")
}

// quayOf is an application registry without packages, which knows those two of
// the canaries that are for it, and makes a repository public once.
func quayOf(t *testing.T, secret canaries) http.Handler {
	user, password, _ := strings.Cut(secret["who pushes manifests"], ":")
	var shown atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		switch {
		case strings.HasSuffix(r.URL.Path, "/changevisibility"):
			if given != "Bearer "+secret["Quay's token of omps"] {
				t.Errorf("Quay was asked to show a repository with other credentials than the token")
			}
			if shown.Swap(true) {
				http.Error(w, `{"error": "no: `+given+`"}`, http.StatusForbidden)
				return
			}
			fmt.Fprint(w, `{"success": true}`)
		case given != basicAuth(user, password):
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"error": {"code": "forbidden", "message": "Unauthorized", "details": {}}}`)
		case r.Method == http.MethodGet:
			fmt.Fprint(w, `[]`)
		default:
			fmt.Fprint(w, `{"status": "ok"}`)
		}
	})
}

// readAll reads the files below a directory.
func (e *estate) readAll(places map[string][]byte, dir string) {
	e.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it may be gone meanwhile
		}
		if data, err := os.ReadFile(path); err == nil {
			places[path] = data
		}
		return nil
	})
	if err != nil {
		e.t.Error(err)
	}
}

// all is everything that the program has printed.
func (k *kept) all() string {
	data, _ := os.ReadFile(k.log)
	return string(data)
}
