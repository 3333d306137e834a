package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// composer is the block that switches the composer on, with a socket of its
// own and one source.
const composer = `
plugin "composer" {
  kind  = "service"
  mount = "/composer/"
  listener "unix:%s" { mode = "0600" }
  config {
    distro     = "test-1"
    releasever = "1"
    push       = true
    source "base" {
      url = "file://%s"
    }
  }
}
`

// tiny are the packages of a distribution that is just large enough: setup has
// what accounts need, hello needs setup.
const tiny = `
Name: setup
Version: 1
Release: 1
Summary: accounts
License: MIT
BuildArch: noarch
%description
What everything else stands on.
%install
mkdir -p %{buildroot}/etc %{buildroot}/usr/bin %{buildroot}/usr/share %{buildroot}/root %{buildroot}/home %{buildroot}/var/lib %{buildroot}/tmp
echo 'root:x:0:0:root:/root:/bin/sh' > %{buildroot}/etc/passwd
echo 'root:x:0:' > %{buildroot}/etc/group
echo 'root:*:19000:0:99999:7:::' > %{buildroot}/etc/shadow
echo 'root:::' > %{buildroot}/etc/gshadow
echo hello > %{buildroot}/hello
%files
/etc
/usr
/root
/home
/var
/tmp

%package -n hello
Version: 2.0
Summary: greeting
Requires: setup
%description -n hello
Says hello.
%files -n hello
/hello
`

// packages makes the RPM repository of a tiny distribution.
func packages(t testing.TB) string {
	t.Helper()
	real.Need(t, "rpmbuild", "createrepo_c", "python3-dnf")
	dir := t.TempDir()
	top := t.TempDir()
	file := filepath.Join(top, "tiny.spec")
	if err := os.WriteFile(file, []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"rpmbuild", "-bb", "--quiet", "--define", "_topdir " + top, "--define", "_rpmdir " + dir, file},
		{"createrepo_c", "--quiet", dir},
	} {
		command := exec.Command(c[0], c[1:]...)
		command.Env = append(os.Environ(), "HOME="+top)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	return dir
}

// weldr talks to the composer's socket.
type weldr struct {
	t      testing.TB
	client *http.Client
}

func newWeldr(t testing.TB, socket string) *weldr {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &weldr{t, &http.Client{Transport: transport}}
}

func (w *weldr) ask(method, path, body string) (int, http.Header, []byte) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(w.t.Context()), method, "http://localhost/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/x-toml")
	if strings.HasPrefix(body, "{") {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, response.Header, data
}

// must asks and demands a success that is JSON.
func (w *weldr) must(method, path, body string) map[string]any {
	w.t.Helper()
	status, _, data := w.ask(method, path, body)
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil || status != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, status, data)
	}
	return answer
}

// await returns when a compose is over.
func (w *weldr) await(id string) string {
	w.t.Helper()
	for range poll(w.t) {
		switch state := w.must("GET", "compose/info/"+id, "")["queue_status"].(string); state {
		case "FINISHED", "FAILED":
			return state
		}
	}
	return ""
}

const greeter = "name = \"greeter\"\ndescription = \"\"\nversion = \"1.0.0\"\n[[packages]]\nname = \"hello\"\nversion = \"*\"\n[customizations]\nhostname = \"greeter.example\"\n"

func startComposer(t *testing.T) (*process, *weldr) {
	t.Helper()
	return startComposerOn(t, shippedConfig(t)+"\n", packages(t))
}

// startComposerOn adds the composer to a configuration, with one source.
func startComposerOn(t *testing.T, config, repo string) (*process, *weldr) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "weldr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	socket := filepath.Join(sockets, "api.socket")
	p := startWith(t, config+fmt.Sprintf(composer, socket, repo), t.TempDir())
	return p, newWeldr(t, socket)
}

// What users of the composer name is not reached in a network that is denied.
func TestComposesDoNotReachADeniedNetwork(t *testing.T) {
	t.Parallel()
	repo := packages(t)
	_, w := startComposerOn(t, shippedDenying(t, "127.0.0.2/32"), repo)
	files := http.FileServer(http.Dir(repo))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/away/"); ok {
			http.Redirect(w, r, "http://127.0.0.2:9/"+rest, http.StatusFound)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)

	w.must("POST", "projects/source/new", fmt.Sprintf(`{"id":"near","type":"yum-baseurl","url":%q}`, server.URL))
	for name, body := range map[string]string{
		"a source":                 `{"id":"x","type":"yum-baseurl","url":"http://127.0.0.2:9/"}`,
		"a source that leads away": fmt.Sprintf(`{"id":"x","type":"yum-baseurl","url":"%s/away/"}`, server.URL),
		"a proxy":                  fmt.Sprintf(`{"id":"x","type":"yum-baseurl","url":%q,"proxy":"http://127.0.0.2:9"}`, server.URL),
		"a key":                    fmt.Sprintf(`{"id":"x","type":"yum-baseurl","url":%q,"check_gpg":true,"gpgkey_urls":["http://127.0.0.2:9/key"]}`, server.URL),
	} {
		if status, _, data := w.ask("POST", "projects/source/new", body); status != http.StatusBadRequest ||
			!bytes.Contains(data, []byte(`"ProjectsError"`)) || !bytes.Contains(data, []byte("denied network 127.0.0.2/32")) {
			t.Errorf("%s: %d %s", name, status, data)
		}
	}
	if diff := cmp.Diff([]any{"base", "near"}, w.must("GET", "projects/source/list", "")["sources"]); diff != "" {
		t.Errorf("sources: %s", diff)
	}
	w.must("POST", "blueprints/new", greeter+"[[repos.git]]\nrpmname = \"r\"\nrpmversion = \"1\"\nrpmrelease = \"1\"\nsummary = \"s\"\nrepo = \"http://127.0.0.2:9/r\"\nref = \"main\"\ndestination = \"/opt/r\"\n")
	if status, _, data := w.ask("POST", "compose", `{"blueprint_name":"greeter","compose_type":"tar","branch":"master"}`); status != http.StatusBadRequest ||
		!bytes.Contains(data, []byte(`"BuildFailed"`)) || !bytes.Contains(data, []byte("Failed to clone http://127.0.0.2:9/r: 127.0.0.2:9: the connection to 127.0.0.2 was refused")) {
		t.Errorf("a repository of git: %d %s", status, data)
	}
}

func packageNames(list any) (names []string) {
	for _, p := range list.([]any) {
		names = append(names, p.(map[string]any)["name"].(string))
	}
	return names
}

func TestComposerSolvesWithRealPackages(t *testing.T) {
	p, w := startComposer(t)
	w.must("POST", "blueprints/new", greeter)
	solved := w.must("GET", "blueprints/depsolve/greeter", "")["blueprints"].([]any)[0].(map[string]any)
	if diff := cmp.Diff([]string{"hello", "setup"}, packageNames(solved["dependencies"])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hello"}, packageNames(solved["modules"])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hello", "setup"}, packageNames(w.must("GET", "projects/list", "")["projects"])); diff != "" {
		t.Error(diff)
	}
	t.Run("a frozen blueprint solves to the same", func(t *testing.T) {
		_, _, frozen := w.ask("GET", "blueprints/freeze/greeter?format=toml", "")
		if !bytes.Contains(frozen, []byte(`version = "2.0-1.noarch"`)) {
			t.Errorf("%s", frozen)
		}
		w.must("POST", "blueprints/new", string(frozen))
		again := w.must("GET", "blueprints/depsolve/greeter", "")["blueprints"].([]any)[0].(map[string]any)
		if diff := cmp.Diff(solved["dependencies"], again["dependencies"]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a source without metadata is refused", func(t *testing.T) {
		status, _, data := w.ask("POST", "projects/source/new", `{"id":"x","type":"yum-baseurl","url":"file://`+t.TempDir()+`"}`)
		if status != http.StatusBadRequest || !bytes.Contains(data, []byte(`"ProjectsError"`)) {
			t.Errorf("%d %s", status, data)
		}
	})
	t.Run("the mount has the same routes", func(t *testing.T) {
		if status, data := p.get("/composer/api/v1/blueprints/list"); status != http.StatusOK || !bytes.Contains(data, []byte(`"greeter"`)) {
			t.Errorf("%d %s", status, data)
		}
	})
	t.Run("the type is documented", func(t *testing.T) {
		if status, data := p.get("/api/v1/openapi.json"); status != http.StatusOK || !bytes.Contains(data, []byte(`"/api/v1/builds/compose"`)) {
			t.Errorf("%d, %d bytes", status, len(data))
		}
	})
	t.Run("everything outlives a restart", func(t *testing.T) {
		p.kill()
		p.start()
		if got := w.must("GET", "blueprints/list", "")["total"]; got != 1.0 {
			t.Errorf("%v blueprints", got)
		}
	})
}

// tarFiles are the names in a tar, with the contents of small files.
func tarFiles(t testing.TB, r io.Reader) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for in := tar.NewReader(r); ; {
		header, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(io.LimitReader(in, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		files[strings.Trim(strings.TrimPrefix(header.Name, "./"), "/")] = string(content)
	}
}

// image downloads the image of a compose.
func (w *weldr) image(id string) []byte {
	w.t.Helper()
	status, header, data := w.ask("GET", "compose/image/"+id, "")
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment; filename="+id+"-") {
		w.t.Fatalf("%d %v %.300s", status, header, data)
	}
	return data
}

func TestComposerMakesImages(t *testing.T) {
	real.Need(t, "xz")
	p, w := startComposer(t)
	w.must("POST", "blueprints/new", greeter)
	start := func(kind, query string) string {
		t.Helper()
		return w.must("POST", "compose"+query, `{"blueprint_name":"greeter","compose_type":"`+kind+`","branch":"master","size":0}`)["build_id"].(string)
	}
	finished := func(id string) {
		t.Helper()
		if state := w.await(id); state != "FINISHED" {
			_, _, log := w.ask("GET", "compose/log/"+id, "")
			t.Fatalf("%s\n%s", state, log)
		}
	}
	tarID, ociID := start("tar", ""), start("oci", "")
	finished(tarID)
	finished(ociID)

	t.Run("a tar has the packages and the customizations", func(t *testing.T) {
		command := exec.Command("xz", "-dc")
		command.Stdin = bytes.NewReader(w.image(tarID))
		root, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		files := tarFiles(t, bytes.NewReader(root))
		if files["hello"] != "hello\n" || files["etc/hostname"] != "greeter.example\n" || !strings.HasPrefix(files["etc/shadow"], "root:") {
			t.Errorf("hello %q, hostname %q, shadow %q", files["hello"], files["etc/hostname"], files["etc/shadow"])
		}
		if state := w.must("GET", "compose/status/"+tarID, "")["uuids"].([]any)[0].(map[string]any); state["image_size"] != float64(len(w.image(tarID))) ||
			state["job_started"].(float64) < state["job_created"].(float64) || state["job_finished"].(float64) < state["job_started"].(float64) {
			t.Errorf("%v", state)
		}
	})
	t.Run("the results are all that was made", func(t *testing.T) {
		_, _, results := w.ask("GET", "compose/results/"+tarID, "")
		_, _, metadata := w.ask("GET", "compose/metadata/"+tarID, "")
		_, _, logs := w.ask("GET", "compose/logs/"+tarID, "")
		all, parts := tarFiles(t, bytes.NewReader(results)), tarFiles(t, bytes.NewReader(metadata))
		for name, content := range tarFiles(t, bytes.NewReader(logs)) {
			parts[name] = content
		}
		if all["root.tar.xz"] == "" || parts["logs/compose.log"] == "" || !strings.Contains(parts["config.toml"], `releasever = "1"`) {
			t.Errorf("%d and %d files", len(all), len(parts))
		}
		delete(all, "root.tar.xz")
		if diff := cmp.Diff(parts, all); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("an OCI archive is one, and in the registry", func(t *testing.T) {
		files := tarFiles(t, bytes.NewReader(w.image(ociID)))
		if files["oci-layout"] == "" || files["index.json"] == "" {
			t.Errorf("%d files", len(files))
		}
		_, body := p.get("/api/v1/builds?request_type=compose")
		var list struct {
			Items []map[string]any `json:"items"`
		}
		if err := json.Unmarshal(body, &list); err != nil || len(list.Items) != 2 {
			t.Fatalf("%v: %s", err, body)
		}
		var pushed string
		for _, item := range list.Items {
			if item["uuid"] == ociID {
				pushed, _ = item["image"].(string)
			}
		}
		registry, repository, _ := strings.Cut(pushed, "/")
		repository, tag, _ := strings.Cut(repository, ":")
		if status, answer := p.get("/v2/" + repository + "/manifests/" + tag); registry == "" || status != http.StatusOK {
			t.Errorf("%q: %d %s", pushed, status, answer)
		}
	})
	t.Run("the engine's own route starts one too", func(t *testing.T) {
		status, answer := p.post("/api/v1/builds/compose", map[string]any{"blueprint_name": "greeter", "compose_type": "tar", "test": 1})
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		if state := w.await(answer["uuid"].(string)); state != "FAILED" {
			t.Error(state)
		}
		if status, answer := p.post("/api/v1/builds/compose", map[string]any{"blueprint_name": "none", "compose_type": "tar"}); status != http.StatusBadRequest {
			t.Errorf("%d %v", status, answer)
		}
	})
	t.Run("a disk with a package made of git stays sparse", func(t *testing.T) {
		real.Need(t, "git", "mkfs.ext4", "sfdisk")
		origin := t.TempDir()
		if err := os.WriteFile(filepath.Join(origin, "motd"), []byte("welcome"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "one"}} {
			command := exec.Command("git", append([]string{"-C", origin}, args...)...)
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		w.must("POST", "blueprints/new", strings.Replace(greeter, "greeter", "git", 1)+fmt.Sprintf("[[repos.git]]\nrpmname = \"motd\"\nrpmversion = \"1\"\n"+
			"rpmrelease = \"1\"\nsummary = \"s\"\nrepo = %q\nref = \"main\"\ndestination = \"/opt/motd\"\n", origin))
		const size = 512 << 20
		answer := w.must("POST", "compose", fmt.Sprintf(`{"blueprint_name":"git","compose_type":"partitioned-disk","size":%d}`, size))
		if warnings := answer["warnings"].([]any); len(warnings) != 1 || !strings.Contains(warnings[0].(string), "kernel") {
			t.Errorf("%v", warnings)
		}
		id := answer["build_id"].(string)
		finished(id)
		_, _, metadata := w.ask("GET", "compose/metadata/"+id, "")
		files := tarFiles(t, bytes.NewReader(metadata))
		if files["repo/motd-1-1.noarch.rpm"] == "" || !strings.Contains(files["deps.toml"], `"motd"`) {
			t.Errorf("%d files, deps %s", len(files), files["deps.toml"])
		}
		if diff := cmp.Diff([]string{"hello", "motd", "setup"}, packageNames(w.must("GET", "compose/info/"+id, "")["deps"].(map[string]any)["packages"])); diff != "" {
			t.Error(diff)
		}
		found := false
		images, err := filepath.Glob(filepath.Join(p.dataDir, "artifacts", "*", "*", "image.artifact"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range images {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() < size {
				continue
			}
			found = true
			if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > size/4 {
				t.Errorf("%d bytes on the disk for an image of %d", used, info.Size())
			}
		}
		if !found {
			t.Errorf("no disk among %v", images)
		}
	})
	t.Run("what is deleted is gone", func(t *testing.T) {
		w.must("DELETE", "compose/delete/"+tarID, "")
		if status, _, data := w.ask("GET", "compose/image/"+tarID, ""); status != http.StatusBadRequest || !bytes.Contains(data, []byte("UnknownUUID")) {
			t.Errorf("%d %s", status, data)
		}
	})
	t.Run("a running compose is cancelled, and one that waits", func(t *testing.T) {
		running := start("tar", "?test=2")
		for range poll(t) {
			if w.must("GET", "compose/info/"+running, "")["queue_status"] == "RUNNING" {
				break
			}
		}
		waiting := start("tar", "")
		for _, id := range []string{waiting, running} {
			w.must("DELETE", "compose/cancel/"+id, "")
			if status, _, data := w.ask("GET", "compose/info/"+id, ""); status != http.StatusBadRequest || !bytes.Contains(data, []byte("UnknownUUID")) {
				t.Errorf("%d %s", status, data)
			}
		}
	})
}

func TestComposesSurviveTheEngine(t *testing.T) {
	p, w := startComposer(t)
	w.must("POST", "blueprints/new", greeter)
	const body = `{"blueprint_name":"greeter","compose_type":"tar"}`
	running := w.must("POST", "compose?test=2", body)["build_id"].(string)
	for range poll(t) {
		if w.must("GET", "compose/info/"+running, "")["queue_status"] == "RUNNING" {
			break
		}
	}
	waiting := w.must("POST", "compose", body)["build_id"].(string)
	if queue := w.must("GET", "compose/queue", ""); len(queue["new"].([]any)) != 1 || len(queue["run"].([]any)) != 1 {
		t.Errorf("%v", queue)
	}
	p.kill()
	p.start()
	for _, id := range []string{running, waiting} {
		if state := w.await(id); state != "FINISHED" {
			_, _, log := w.ask("GET", "compose/log/"+id, "")
			t.Errorf("%s\n%s", state, log)
		}
	}
	if image := w.image(running); string(image) != "TEST IMAGE" {
		t.Errorf("%q", image)
	}
	w.image(waiting)
	left, err := os.ReadDir(filepath.Join(p.dataDir, "work"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), "request-") {
			t.Errorf("left over: %s", entry.Name())
		}
	}
}
