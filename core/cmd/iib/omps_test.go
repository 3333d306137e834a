package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// pushService is the block that switches it on, with addresses of its own.
const pushService = `
plugin "omps" {
  kind               = "service"
  mount              = "/omps/"
  pass_authorization = true
  listener %q {}
  listener "unix:%s" { mode = "0660" }
  config {
    organization "suffixed" {
      package_name_suffix = "-cmp"
      replace_registry {
        old = "registry.example.com"
        new = "mirror.example.com"
      }
      csv_annotation "package" {
        value = "this is {package_name}"
      }
    }
    organization "open" {
      public = true
    }
  }
}
`

// pushBlock is a push service with a listener of its own and these settings.
func pushBlock(own, settings string) string {
	return fmt.Sprintf(`
plugin "omps" {
  kind               = "service"
  mount              = "/omps/"
  pass_authorization = true
  listener %q {}
  config {
%s
  }
}
`, own, settings)
}

// startPushService runs an engine with a push service, and returns its client
// at the service's own address.
func startPushService(t testing.TB, settings string) (*process, *pusher) {
	t.Helper()
	own := loopback.Address(t)
	p := startServer(t, pushBlock(own, settings))
	return p, &pusher{t: t, base: "http://" + own, client: http.DefaultClient, auth: "basic dXNlcjpwYXNzd29yZA=="}
}

// shippedWithRegistry is the shipped configuration with settings for the
// registry, which then has users of its own.
func shippedWithRegistry(t testing.TB, settings string) string {
	t.Helper()
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	const mounts = `  mounts = ["/v2/", "/api/v1/repository/"]` + "\n"
	before, after, found := strings.Cut(string(shipped), mounts)
	if !found {
		t.Fatalf("iib.hcl has no %s", mounts)
	}
	return before + mounts + "  pass_authorization = true\n  config {\n" + settings + "\n  }\n" + after
}

// operatorFiles are an operator in package-manifest form, with a directory for
// each version.
func operatorFiles(name string, versions ...string) map[string]string {
	files := map[string]string{"package.yaml": fmt.Sprintf(
		"# what a person wrote\npackageName: %s\nchannels:\n- name: stable\n  currentCSV: %s.v%s\n", name, name, versions[len(versions)-1])}
	for _, v := range versions {
		files[v+"/csv.yaml"] = fmt.Sprintf(`apiVersion: operators.coreos.com/v1alpha1
kind: ClusterServiceVersion
metadata:
  name: %s.v%s
spec:
  image: registry.example.com/ns/operator:v%s
  installModes: []
  install:
    strategy: deployment
    spec:
      deployments: []
`, name, v, v)
	}
	return files
}

func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// untar returns the files of a pulled archive without their one top directory.
func untar(t testing.TB, data []byte) map[string]string {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v: %.300s", err, data)
	}
	files := make(map[string]string)
	for reader := tar.NewReader(compressed); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ := strings.Cut(header.Name, "/")
			files[name] = string(content)
		}
	}
}

// pusher talks to a push service.
type pusher struct {
	t      testing.TB
	base   string
	client *http.Client
	auth   string
}

func (p *pusher) do(method, path, contentType string, body []byte) (int, []byte) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, p.base+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if p.auth != "" {
		request.Header.Set("Authorization", p.auth)
	}
	response, err := p.client.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, data
}

func (p *pusher) json(method, path string) (int, map[string]any) {
	p.t.Helper()
	status, data := p.do(method, path, "", nil)
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		p.t.Fatalf("%s %s: %d %s", method, path, status, data)
	}
	return status, answer
}

// formOf is a form with one file.
func formOf(t testing.TB, field, name string, data []byte) (contentType string, body []byte) {
	t.Helper()
	var out bytes.Buffer
	form := multipart.NewWriter(&out)
	part, err := form.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return form.FormDataContentType(), out.Bytes()
}

// gzipped compresses a text.
func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// push sends an archive as a form's file.
func (p *pusher) push(path, name string, archive []byte) (int, map[string]any) {
	p.t.Helper()
	kind, body := formOf(p.t, "file", name, archive)
	status, data := p.do(http.MethodPost, path, kind, body)
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		p.t.Fatalf("push %s: %d %s", path, status, data)
	}
	return status, answer
}

func TestOperatorsArePushedListedPulledAndDeleted(t *testing.T) {
	t.Parallel()
	own := loopback.Address(t)
	socket := filepath.Join(shortDir(t), "omps.sock")
	p := startServer(t, fmt.Sprintf(pushService, own, socket))
	mounted := &pusher{t: t, base: p.url + "/omps", client: http.DefaultClient, auth: "basic dXNlcjpwYXNzd29yZA=="}
	alone := &pusher{t: t, base: "http://" + own, client: http.DefaultClient, auth: mounted.auth}
	files := operatorFiles("web", "1.0.0", "1.1.0")
	archive := zipOf(t, files)

	for i, c := range []struct {
		at            *pusher
		path, version string
	}{
		{mounted, "/v2/org/zipfile", "1.0.0"},
		{alone, "/v2/org/zipfile", "2.0.0"},
		{alone, "/v1/org/web/zipfile/2.5.1", "2.5.1"},
		{mounted, "/v1/org/web/zipfile", "3.0.0"},
		{mounted, "/v2/org/zipfile/0.0.1", "0.0.1"},
	} {
		status, answer := c.at.push(c.path, "manifests.ZIP", archive)
		if status != 200 || answer["version"] != c.version || answer["repo"] != "web" || answer["organization"] != "org" {
			t.Fatalf("push %d to %s: %d %v, want version %s", i, c.path, status, answer, c.version)
		}
		if got, want := fmt.Sprint(answer["extracted_files"]), "[1.0.0/csv.yaml 1.1.0/csv.yaml package.yaml]"; got != want {
			t.Errorf("extracted_files %s, want %s", got, want)
		}
	}
	t.Run("what is pulled is what was pushed", func(t *testing.T) {
		for _, path := range []string{"/cnr/api/v1/packages/org/web/default/helm/pull", "/cnr/api/v1/packages/org/web/1.0.0/helm/pull"} {
			_, data := alone.do(http.MethodGet, path, "", nil)
			if diff := cmp.Diff(files, untar(t, data)); diff != "" {
				t.Error(path, diff)
			}
		}
	})
	t.Run("the socket answers too, to its group", func(t *testing.T) {
		info, err := os.Stat(socket)
		if err != nil || info.Mode().Perm() != 0o660 {
			t.Fatalf("%v, %v", info, err)
		}
		local := &pusher{t: t, base: "http://socket", client: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}}
		if status, about := local.json(http.MethodGet, "/v2/about"); status != 200 || about["operatorcourier"] != "2.1.10" {
			t.Errorf("%d %v", status, about)
		}
	})
	t.Run("an organization's wishes are done", func(t *testing.T) {
		status, answer := alone.push("/v2/suffixed/zipfile", "m.zip", archive)
		if status != 200 || answer["repo"] != "web-cmp" {
			t.Fatalf("%d %v", status, answer)
		}
		_, data := alone.do(http.MethodGet, "/cnr/api/v1/packages/suffixed/web-cmp/default/helm/pull", "", nil)
		got := untar(t, data)
		if want := strings.Replace(files["package.yaml"], "packageName: web", "packageName: web-cmp", 1); got["package.yaml"] != want {
			t.Errorf("package.yaml is %q, want %q", got["package.yaml"], want)
		}
		for _, want := range []string{"package: this is web-cmp", "mirror.example.com/ns/operator:v1.0.0"} {
			if !strings.Contains(got["1.0.0/csv.yaml"], want) {
				t.Errorf("no %q in %s", want, got["1.0.0/csv.yaml"])
			}
		}
	})
	t.Run("a public organization's packages are public", func(t *testing.T) {
		if status, answer := alone.push("/v2/open/zipfile", "m.zip", archive); status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		_, data := alone.do(http.MethodGet, "/cnr/api/v1/packages?namespace=open&media_type=helm", "", nil)
		var list []struct{ Name, Visibility, Default string }
		if err := json.Unmarshal(data, &list); err != nil || len(list) != 1 || list[0].Visibility != "public" || list[0].Default != "1.0.0" {
			t.Errorf("%s", data)
		}
	})
	t.Run("one release is deleted, then all", func(t *testing.T) {
		if status, answer := alone.json(http.MethodDelete, "/v2/org/web/3.0.0"); status != 200 || fmt.Sprint(answer["deleted"]) != "[3.0.0]" {
			t.Fatalf("%d %v", status, answer)
		}
		if status, answer := alone.json(http.MethodDelete, "/v1/org/web/3.0.0"); status != 404 || answer["error"] != "QuayPackageNotFound" || !strings.Contains(answer["message"].(string), "doesn't exist") {
			t.Fatalf("%d %v", status, answer)
		}
		if status, answer := alone.push("/v2/org/zipfile", "m.zip", archive); status != 200 || answer["version"] != "3.0.0" {
			t.Fatalf("a deleted number is free again: %d %v", status, answer)
		}
		if status, answer := alone.json(http.MethodDelete, "/v1/org/web"); status != 200 || fmt.Sprint(answer["deleted"]) != "[3.0.0 2.5.1 2.0.0 1.0.0 0.0.1]" {
			t.Fatalf("%d %v", status, answer)
		}
		if status, answer := alone.json(http.MethodDelete, "/v1/org/web"); status != 404 || answer["error"] != "QuayPackageNotFound" {
			t.Fatalf("%d %v", status, answer)
		}
	})
	t.Run("people push, list and delete by the command line", func(t *testing.T) {
		dir := t.TempDir()
		for name, content := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p.want(exitFault, []string{"OMPSAuthorizationHeaderRequired", ompsTokenVariable}, "omps", "push", "people", dir)
		p.env = append(p.env, ompsTokenVariable+"="+alone.auth)
		if out := p.mustCLI("omps", "push", "people", dir, "--dry-run"); !strings.Contains(out, "people/web 1.0.0 could be pushed") {
			t.Error(out)
		}
		if out := p.mustCLI("omps", "push", "people", dir); !strings.Contains(out, "people/web 1.0.0 is pushed") {
			t.Error(out)
		}
		_, data := alone.do(http.MethodGet, "/cnr/api/v1/packages/people/web/1.0.0/helm/pull", "", nil)
		if diff := cmp.Diff(files, untar(t, data)); diff != "" {
			t.Error(diff)
		}
		if out := p.mustCLI("omps", "list", "people", "--url", alone.base); !strings.Contains(out, "people/web") {
			t.Error(out)
		}
		if out := p.mustCLI("omps", "delete", "people", "web", "1.0.0"); !strings.Contains(out, "deleted people/web 1.0.0") {
			t.Error(out)
		}
		p.want(exitFault, []string{"QuayPackageNotFound"}, "omps", "delete", "people", "web", "--all")
		p.want(exitOK, []string{"no package"}, "omps", "list", "people")
		for range 2 {
			p.mustCLI("omps", "push", "people", dir)
		}
		if out := p.mustCLI("omps", "list", "people", "--output", "json"); !strings.Contains(out, `"releases": [`) || !json.Valid([]byte(out)) {
			t.Error(out)
		}
		p.want(exitFault, []string{"exists already", "QuayCourierError"}, "omps", "push", "people", dir, "--version", "1.0.0")
		p.want(exitFault, []string{`"v1"`, "OMPSInvalidVersionFormat"}, "omps", "push", "people", dir, "--version", "v1")
		p.want(exitFault, []string{"no such file"}, "omps", "push", "people", filepath.Join(dir, "nowhere"))
		p.want(exitFault, []string{"Koji is not set up here", "KojiError"}, "omps", "push", "people", "--koji", "web-1-2")
		p.want(exitFault, []string{"http://127.0.0.1:1 does not answer"}, "omps", "list", "--url", "http://127.0.0.1:1")
		for _, wrong := range [][]string{
			{"push"}, {"push", "people"}, {"push", "people", dir, "x"}, {"push", "people", dir, "--koji", "web-1-2"}, {"push", "a/b", dir}, {"push", "", dir},
			{"push", "people", dir, "--output", "xml"}, {"list", "a", "b"}, {"list", "a/b"}, {"list", "--url", "nonsense"}, {"delete", "people"},
			{"delete", "people", "web"}, {"delete", "people", "web", "1.0.0", "--all"}, {"delete", "people", "", "--all"}, {"lst"},
		} {
			p.want(exitUsage, nil, append([]string{"omps"}, wrong...)...)
		}
		for _, c := range []struct {
			args []string
			want []string
		}{
			{[]string{"push", ""}, []string{"people"}}, {[]string{"list", ""}, []string{"people"}}, {[]string{"delete", ""}, []string{"people"}},
			{[]string{"delete", "people", ""}, []string{"web"}}, {[]string{"delete", "people", "web", ""}, []string{"1.0.0", "2.0.0"}},
			{[]string{"list", "--output", ""}, []string{"text", "json"}},
		} {
			lines := strings.Split(p.mustCLI(append([]string{"__complete", "omps"}, c.args...)...), "\n")
			for _, want := range c.want {
				if !slices.Contains(lines, want) {
					t.Errorf("%v is not completed by %s: %q", c.args, want, lines)
				}
			}
		}
		if out := p.mustCLI("omps", "delete", "people", "web", "--all"); !strings.Contains(out, "deleted people/web 2.0.0 1.0.0") {
			t.Error(out)
		}
	})
	t.Run("hostile uploads are refused by mount and listener alike, and leave nothing", func(t *testing.T) {
		bomb := zipOf(t, map[string]string{"package.yaml": strings.Repeat(" ", 21<<20)})
		for _, at := range []*pusher{mounted, alone} {
			for name, c := range map[string]struct {
				archive []byte
				status  int
				id      string
			}{
				"a path to above": {zipOf(t, map[string]string{"../../evil.yaml": "a: b"}), 400, "OMPSUploadedFileError"},
				"a bomb":          {bomb, 400, "OMPSUploadedFileError"},
				"no zip":          {[]byte("hello"), 400, "OMPSUploadedFileError"},
				"a long body":     {make([]byte, 8<<20), 413, "RequestEntityTooLarge"},
				"nothing in it":   {zipOf(t, nil), 400, "PackageValidationError"},
			} {
				if status, answer := at.push("/v2/hostile/zipfile", "m.zip", c.archive); status != c.status || answer["error"] != c.id {
					t.Errorf("%s at %s: %d %v", name, at.base, status, answer)
				}
			}
		}
		if _, data := alone.do(http.MethodGet, "/cnr/api/v1/packages?namespace=hostile", "", nil); string(data) != "[]" {
			t.Errorf("%s", data)
		}
	})
	t.Run("a reload closes the addresses", func(t *testing.T) {
		text, err := os.ReadFile(p.config)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), fmt.Sprintf("listener %q {}", own), "", 1)
		if err := os.WriteFile(p.config, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		p.mustCLI("plugin", "reload", "--config", p.config)
		for range poll(t) {
			if conn, err := net.Dial("tcp", own); err != nil {
				break
			} else {
				conn.Close()
			}
		}
		if status, _ := mounted.json(http.MethodGet, "/v2/about"); status != 200 {
			t.Errorf("the mount answers %d", status)
		}
	})
}

func TestPackagesHaveTheRightsOfTheRegistry(t *testing.T) {
	t.Parallel()
	own := loopback.Address(t)
	config := shippedWithRegistry(t, `    repository "app-registry/team/*" {
      writers = ["team+ci"]
    }
    repository "app-registry/*/*" {
      readers = ["*"]
      writers = ["admin+ci"]
    }
    robot "team+ci" { secret = "not so secret 1" }
    robot "admin+ci" { secret = "not so secret 2" }`)
	startWith(t, config+fmt.Sprintf(pushService, own, filepath.Join(shortDir(t), "omps.sock")), t.TempDir())
	as := func(user, password string) *pusher {
		p := &pusher{t: t, base: "http://" + own, client: http.DefaultClient}
		if user != "" {
			p.auth = "basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
		}
		return p
	}
	team, admin := as("team+ci", "not so secret 1"), as("admin+ci", "not so secret 2")
	archive := zipOf(t, operatorFiles("web", "1.0.0"))
	if status, answer := team.push("/v2/team/zipfile", "m.zip", archive); status != 200 {
		t.Fatal(status, answer)
	}
	if status, answer := admin.push("/v2/all/zipfile", "m.zip", archive); status != 200 {
		t.Fatal(status, answer)
	}
	for name, p := range map[string]*pusher{"another robot": admin, "a wrong secret": as("team+ci", "not so secret 3")} {
		if status, answer := p.push("/v2/team/zipfile", "m.zip", archive); status != 403 || answer["error"] != "QuayAuthorizationError" {
			t.Errorf("%s: %d %v", name, status, answer)
		}
		if status, answer := p.json(http.MethodDelete, "/v2/team/web/1.0.0"); status != 500 || answer["error"] != "QuayPackageError" {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	for _, c := range []struct {
		p    *pusher
		path string
		want int
	}{
		{team, "/cnr/api/v1/packages/team/web/default/helm/pull", 200}, {as("", ""), "/cnr/api/v1/packages/team/web", 403},
		{as("", ""), "/cnr/api/v1/packages/all/web/default/helm/pull", 200}, {admin, "/cnr/api/v1/packages/team/web", 403},
	} {
		if status, data := c.p.do(http.MethodGet, c.path, "", nil); status != c.want {
			t.Errorf("%s as %q: %d %.300s, want %d", c.path, c.p.auth, status, data, c.want)
		}
	}
	t.Run("only who has rights in a namespace learns what is not there", func(t *testing.T) {
		const digest = "/blobs/sha256/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		anon := as("", "")
		for _, call := range []string{"GET ", "GET /1.0.0", "GET /1.0.0/helm", "GET /1.0.0/helm/pull", "GET " + digest, "GET /channels", "DELETE /1.0.0/helm"} {
			method, rest, _ := strings.Cut(call, " ")
			for _, c := range []struct {
				who       string
				p         *pusher
				namespace string
				status    int
				code      string
			}{
				{"its writer", team, "team", 404, "package-not-found"}, {"another robot", admin, "team", 403, "forbidden"},
				{"a wrong secret", as("team+ci", "not so secret 3"), "team", 403, "forbidden"}, {"nobody", anon, "team", 403, "forbidden"},
				{"the writer of all", admin, "all", 404, "package-not-found"},
			} {
				status, answer := c.p.json(method, "/cnr/api/v1/packages/"+c.namespace+"/none"+rest)
				problem, _ := answer["error"].(map[string]any)
				if details, _ := problem["details"].(map[string]any); status != c.status || problem["code"] != c.code || details["package"] != c.namespace+"/none" {
					t.Errorf("%s of %s/none by %s: %d %v, want %d %s", call, c.namespace, c.who, status, answer, c.status, c.code)
				}
			}
			// What is there and what is not are told apart by nobody else.
			status, there := anon.json(method, "/cnr/api/v1/packages/team/web"+rest)
			_, gone := anon.json(method, "/cnr/api/v1/packages/team/none"+rest)
			if got, want := fmt.Sprint(there), strings.ReplaceAll(fmt.Sprint(gone), "team/none", "team/web"); status != 403 || got != want {
				t.Errorf("%s of team/web: %d %s, of another %s", call, status, got, want)
			}
		}
	})
	for _, c := range []struct {
		p    *pusher
		want string
	}{{team, "all/web team/web"}, {as("", ""), "all/web"}} {
		_, data := c.p.do(http.MethodGet, "/cnr/api/v1/packages", "", nil)
		var list []struct{ Name string }
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatalf("%s", data)
		}
		var names []string
		for _, p := range list {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%q sees %s, want %s", c.p.auth, got, c.want)
		}
	}
	for secret, want := range map[string]int{"not so secret 1": 200, "wrong": 401} {
		login := fmt.Appendf(nil, `{"user": {"username": "team+ci", "password": %q}}`, secret)
		if status, data := team.do(http.MethodPost, "/cnr/api/v1/users/login", "application/json", login); status != want {
			t.Errorf("login: %d %s, want %d", status, data, want)
		}
	}
	if status, answer := team.json(http.MethodDelete, "/v2/team/web"); status != 200 {
		t.Error(status, answer)
	}
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "omps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
