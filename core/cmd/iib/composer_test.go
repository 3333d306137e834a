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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
    source "base" {
      url = "file://%s"
    }
  }
}
`

// need skips a test that needs what is not installed, or fails where that must
// not be.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		err := exec.Command("/usr/bin/python3", "-I", "-c", "import dnf").Run()
		if program != "python3-dnf" {
			_, err = exec.LookPath(program)
		}
		if err == nil {
			continue
		}
		if os.Getenv("IIB_REQUIRE_REAL") == "1" {
			t.Fatalf("%s is not installed, and IIB_REQUIRE_REAL is 1", program)
		}
		t.Skipf("%s is not installed", program)
	}
}

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
	need(t, "rpmbuild", "createrepo_c", "python3-dnf")
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
	repo := packages(t)
	sockets, err := os.MkdirTemp("", "weldr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	socket := filepath.Join(sockets, "api.socket")
	p := startServer(t, fmt.Sprintf(composer, socket, repo))
	return p, newWeldr(t, socket)
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
