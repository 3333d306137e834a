package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const authorization = "basic dXNlcjpwYXNzd29yZA=="

// images is an image registry in memory.
func images(t testing.TB) http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
}

// serveOMPS runs the plugin over the real wire, with an image registry behind the
// engine's address, and returns the address of the engine's proxy to it.
func serveOMPS(t testing.TB, behind http.Handler, change func(*Settings)) string {
	t.Helper()
	engine := httptest.NewServer(behind)
	t.Cleanup(engine.Close)
	s := newService()
	s.now = func() time.Time { return time.Date(2019, 3, 5, 11, 39, 28, 5, time.UTC) }
	if change != nil {
		change(&s.Settings)
	}
	host := sdktest.NewHost(t)
	host.URL, host.Denied = engine.URL, []string{"127.0.0.2/32"}
	host.OnAccess = func(context.Context, string) (sdk.Access, error) {
		return sdk.Access{Username: "user", Password: "password"}, nil
	}
	plugin := sdktest.Serve(t, sdk.Plugin{Name: "omps", Doc: "x", Service: s}, host)
	server := httptest.NewServer(plugin.Service())
	t.Cleanup(server.Close)
	return server.URL
}

func operator(name string) map[string]string {
	return map[string]string{
		"package.yaml": "packageName: " + name + "\nchannels: [{name: stable, currentCSV: a.v1}]\n",
		"1/csv.yaml":   "apiVersion: v1alpha1\nkind: ClusterServiceVersion\nmetadata: {name: a.v1}\nspec: {installModes: [], install: {strategy: deployment, spec: {deployments: []}}}\n",
	}
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
		_, _ = f.Write([]byte(files[name]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// form is an upload with one field.
func form(t testing.TB, field, name string, data []byte) (contentType string, body []byte) {
	t.Helper()
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(data)
	_ = w.Close()
	return w.FormDataContentType(), out.Bytes()
}

// ask sends a request and decodes the answer.
func ask(t testing.TB, method, address string, headers map[string]string, body []byte) (int, any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); kind != "application/json" {
		return response.StatusCode, string(raw)
	}
	var answer any
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%s %s: %s", method, address, raw)
	}
	return response.StatusCode, answer
}

func upload(t testing.TB, address string, data []byte) (int, map[string]any) {
	t.Helper()
	kind, body := form(t, "file", "m.zip", data)
	status, answer := ask(t, http.MethodPost, address, map[string]string{"Authorization": authorization, "Content-Type": kind}, body)
	object, _ := answer.(map[string]any)
	return status, object
}

// wantFault demands an error's status, ID and words.
func wantFault(t testing.TB, status int, answer any, wantStatus int, id, words string) {
	t.Helper()
	object, _ := answer.(map[string]any)
	message, _ := object["message"].(string)
	if status != wantStatus || object["status"] != float64(wantStatus) || object["error"] != id || !strings.Contains(message, words) {
		t.Errorf("got %d %v, want %d %s with %q", status, answer, wantStatus, id, words)
	}
}

func TestEveryFaultHasItsStatusAndID(t *testing.T) {
	url := serveOMPS(t, images(t), nil)
	good := zipOf(t, operator("web"))
	kind, body := form(t, "file", "m.zip", good)
	send := func(field, name string, data []byte) func() (string, []byte) {
		return func() (string, []byte) { return form(t, field, name, data) }
	}
	for name, c := range map[string]struct {
		method, path, auth string
		body               func() (string, []byte)
		status             int
		id, words          string
	}{
		"no header":                {"POST", "/v2/o/zipfile", "", nil, 403, "OMPSAuthorizationHeaderRequired", "Authorization"},
		"an empty header":          {"DELETE", "/v2/o/web", " ", nil, 403, "OMPSAuthorizationHeaderRequired", "Authorization"},
		"no header, bad version":   {"POST", "/v1/o/r/zipfile/x", "", nil, 403, "OMPSAuthorizationHeaderRequired", ""},
		"no header, Koji":          {"POST", "/v2/o/koji/n-1-1", "", nil, 403, "OMPSAuthorizationHeaderRequired", ""},
		"no form":                  {"POST", "/v2/o/zipfile", "x", nil, 400, "OMPSExpectedFileError", `No field "file"`},
		"another field":            {"POST", "/v2/o/zipfile", "x", send("data", "m.zip", good), 400, "OMPSExpectedFileError", `No field "file"`},
		"no file name":             {"POST", "/v2/o/zipfile", "x", send("file", "", good), 400, "OMPSExpectedFileError", `No selected "file"`},
		"another extension":        {"POST", "/v2/o/zipfile", "x", send("file", "m.tar.gz", good), 400, "OMPSUploadedFileError", "file extension"},
		"no extension":             {"POST", "/v2/o/zipfile", "x", send("file", "zip", good), 400, "OMPSUploadedFileError", "file extension"},
		"no zip":                   {"POST", "/v2/o/zipfile", "x", send("file", "m.zip", []byte("hello")), 400, "OMPSUploadedFileError", "not a zip file"},
		"a body too large":         {"POST", "/v2/o/zipfile", "x", send("file", "m.zip", make([]byte, 2<<20)), 413, "RequestEntityTooLarge", "larger"},
		"no package":               {"POST", "/v2/o/zipfile", "x", send("file", "m.zip", zipOf(t, nil)), 400, "PackageValidationError", "Could not find packageName"},
		"no package, bad version":  {"POST", "/v2/o/zipfile/1", "x", send("file", "m.zip", zipOf(t, nil)), 400, "PackageValidationError", "Could not find packageName"},
		"a bad version":            {"POST", "/v2/o/zipfile/1.0.0-1", "x", send("file", "m.zip", good), 400, "OMPSInvalidVersionFormat", "1.0.0-1"},
		"a version with a newline": {"POST", "/v2/o/zipfile/1.0.0%0A", "x", send("file", "m.zip", good), 400, "OMPSInvalidVersionFormat", "1.0.0"},
		"another repository":       {"POST", "/v1/o/other/zipfile", "x", send("file", "m.zip", good), 400, "PackageValidationError", "bundle is invalid"},
		"an unknown package":       {"DELETE", "/v2/o/none", "x", nil, 404, "QuayPackageNotFound", "not found"},
		"an unknown release":       {"DELETE", "/v1/o/none/1.0.0", "x", nil, 404, "QuayPackageNotFound", "doesn't exist"},
		"a foreign release":        {"DELETE", "/v1/o/none/latest", "x", nil, 404, "QuayPackageNotFound", "doesn't exist"},
		"Koji is switched off":     {"POST", "/v2/o/koji/n-1-1", "x", nil, 500, "KojiError", "not set up"},
		"an unknown path":          {"GET", "/v3/about", "", nil, 404, "NotFound", ""},
		"a slash at the end":       {"GET", "/v2/about/", "", nil, 404, "NotFound", ""},
		"an empty segment":         {"DELETE", "/v2//x", "x", nil, 404, "NotFound", ""},
		"the root":                 {"GET", "/", "", nil, 404, "NotFound", ""},
		"a wrong method":           {"GET", "/v2/o/zipfile", "", nil, 405, "MethodNotAllowed", "GET"},
		"a wrong method, about":    {"POST", "/v1/about", "", nil, 405, "MethodNotAllowed", "POST"},
		"a name of no package":     {"POST", "/v2/o/zipfile", "x", send("file", "m.zip", zipOf(t, operator("Web"))), 500, "QuayCourierError", "Failed to push manifest: "},
	} {
		t.Run(name, func(t *testing.T) {
			headers := map[string]string{}
			if c.auth != "" {
				headers["Authorization"] = c.auth
			}
			var data []byte
			if c.body != nil {
				headers["Content-Type"], data = c.body()
			}
			status, answer := ask(t, c.method, url+c.path, headers, data)
			wantFault(t, status, answer, c.status, c.id, c.words)
			object, _ := answer.(map[string]any)
			for id, extra := range map[string]string{"PackageValidationError": "validation_info", "QuayCourierError": "quay_response"} {
				if _, there := object[extra]; there != (c.id == id) {
					t.Errorf("%s is there: %v", extra, there)
				}
			}
		})
	}
	t.Run("nothing was kept", func(t *testing.T) {
		if _, list := ask(t, "GET", url+"/omps/cnr/api/v1/packages", nil, nil); !cmp.Equal(list, any([]any{})) {
			t.Errorf("%v", list)
		}
	})
	t.Run("a release stays as it is", func(t *testing.T) {
		headers := map[string]string{"Authorization": authorization, "Content-Type": kind}
		if status, answer := ask(t, "POST", url+"/omps/v2/o/zipfile/1.0.0", headers, body); status != 200 {
			t.Fatal(status, answer)
		}
		status, answer := ask(t, "POST", url+"/omps/v2/o/zipfile/1.0.0", headers, body)
		wantFault(t, status, answer, 500, "QuayCourierError", "Failed to push manifest: ")
		if code := answer.(map[string]any)["quay_response"].(map[string]any)["error"].(map[string]any)["code"]; code != "package-exists" {
			t.Error(code)
		}
	})
	t.Run("metrics count them", func(t *testing.T) {
		_, text := ask(t, "GET", url+"/metrics", nil, nil)
		for _, want := range []string{`omps_calls_total{call="push",outcome="QuayCourierError"}`, `omps_calls_total{call="push",outcome="ok"} 1`} {
			if !strings.Contains(fmt.Sprint(text), want) {
				t.Errorf("no %s in %s", want, text)
			}
		}
	})
}

func TestTheApplicationRegistryKeepsToItsProtocol(t *testing.T) {
	url := serveOMPS(t, images(t), nil) + "/cnr"
	headers := map[string]string{"Authorization": authorization}
	packages := url + "/api/v1/packages"
	post := func(path, body string) (int, any) {
		return ask(t, "POST", packages+path, headers, []byte(body))
	}
	// "hello" in a gzip stream, by Python's gzip.compress(b"hello", mtime=0).
	const hello = "H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA=="
	push := func(path, release string) (int, any) {
		return post(path, fmt.Sprintf(`{"blob": %q, "release": %q, "media_type": "helm", "other": 1}`, hello, release))
	}
	for _, release := range []string{"1.0.0", "1.0.0-1", "10.0.0", "2.0.0+b"} {
		if status, answer := push("/ns/pkg/", release); status != 200 || !cmp.Equal(answer, any(map[string]any{"status": "ok"})) {
			t.Fatal(release, status, answer)
		}
	}
	code := func(answer any) any {
		object, _ := answer.(map[string]any)
		inner, _ := object["error"].(map[string]any)
		if _, ok := inner["details"].(map[string]any); !ok {
			t.Errorf("no details: %v", answer)
		}
		return inner["code"]
	}
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"again":              {"/ns/pkg", `{"blob": "` + hello + `", "release": "1.0.0", "media_type": "application/vnd.cnr.package-manifest.helm.v0.json"}`, 409, "package-exists"},
		"no release":         {"/ns/pkg", `{"blob": "` + hello + `", "media_type": "helm"}`, 400, "invalid-usage"},
		"no media type":      {"/ns/pkg", `{"blob": "` + hello + `", "release": "3.0.0"}`, 400, "invalid-usage"},
		"no blob":            {"/ns/pkg", `{"release": "3.0.0", "media_type": "helm"}`, 400, "invalid-usage"},
		"no JSON":            {"/ns/pkg", `{`, 400, "invalid-usage"},
		"no base64":          {"/ns/pkg", `{"blob": "?", "release": "3.0.0", "media_type": "helm"}`, 400, "invalid-usage"},
		"no gzip":            {"/ns/pkg", `{"blob": "aGVsbG8=", "release": "3.0.0", "media_type": "helm"}`, 400, "invalid-usage"},
		"a number":           {"/ns/pkg", `{"blob": "` + hello + `", "release": 1.0, "media_type": "helm"}`, 422, "invalid-release"},
		"half a version":     {"/ns/pkg", `{"blob": "` + hello + `", "release": "1.0", "media_type": "helm"}`, 422, "invalid-release"},
		"a leading zero":     {"/ns/pkg", `{"blob": "` + hello + `", "release": "01.0.0", "media_type": "helm"}`, 422, "invalid-release"},
		"a name in capitals": {"/ns/Pkg", `{"blob": "` + hello + `", "release": "1.0.0", "media_type": "helm"}`, 400, "invalid-usage"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, answer := post(c.path, c.body); status != c.status || code(answer) != c.code {
				t.Errorf("got %d %v, want %d %s", status, answer, c.status, c.code)
			}
		})
	}
	// Digests by Python: sha256(b"hello"), and of the manifest by json.dumps
	// with sorted keys.
	view := func(release string) map[string]any {
		return map[string]any{
			"package": "ns/pkg", "release": release, "created_at": "2019-03-05T11:39:28", "metadata": nil,
			"digest":    "sha256:" + manifestDigest,
			"mediaType": "application/vnd.cnr.package-manifest.helm.v0.json",
			"content": map[string]any{
				"mediaType": "application/vnd.cnr.package.helm.v0.tar+gzip", "size": 25.0, "urls": []any{},
				"digest": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
			},
		}
	}
	full := view("2.0.0+b")
	full["channels"] = []any{}
	for _, c := range []struct {
		path   string
		status int
		want   any
	}{
		{"?namespace=ns&media_type=helm", 200, []any{map[string]any{
			"name": "ns/pkg", "namespace": "ns", "visibility": "private", "default": "10.0.0", "manifests": []any{"helm"}, "channels": nil,
			"releases": []any{"10.0.0", "2.0.0+b", "1.0.0", "1.0.0-1"}, "created_at": "2019-03-05T11:39:28", "updated_at": "2019-03-05T11:39:28",
		}}},
		{"?namespace=other", 200, []any{}},
		{"/ns/pkg/channels", 200, []any{}},
		{"/search?q=pk", 200, []any{"ns/pkg"}},
		{"/ns/pkg", 200, []any{view("10.0.0"), view("2.0.0+b"), view("1.0.0"), view("1.0.0-1")}},
		{"/ns/pkg?media_type=kpm", 200, []any{}},
		{"/ns/pkg/1.0.0/", 200, []any{view("1.0.0")}},
		{"/ns/pkg/7.0.0", 200, []any{}},
		{"/ns/pkg/2.0.0+b/helm", 200, full},
		{"/ns/pkg/%3E=1.0,%3C10.0/helm", 200, full},
		{"/ns/pkg/1.0.0/helm/pull?format=json", 200, map[string]any{"package": "ns/pkg", "blob": hello, "release": "1.0.0", "media_type": "helm", "filename": "ns_pkg_1.0.0.tar.gz"}},
		{"/ns/pkg/blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824?format=json", 200,
			map[string]any{"package": "ns/pkg", "blob": hello, "release": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "filename": "ns_pkg_2cf24dba.tar.gz"}},
	} {
		t.Run(c.path, func(t *testing.T) {
			status, answer := ask(t, "GET", packages+c.path, headers, nil)
			if diff := cmp.Diff(c.want, answer); status != c.status || diff != "" {
				t.Errorf("%d %s", status, diff)
			}
		})
	}
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/ns/none", 404, "package-not-found"}, {"GET", "/ns/pkg/9.0.0/helm", 404, "package-release-not-found"},
		{"GET", "/ns/pkg/%3E99.0/helm", 404, "package-release-not-found"}, {"GET", "/ns/pkg/x/helm", 422, "invalid-release"},
		{"GET", "/ns/pkg/default/kpm", 404, "package-not-found"}, {"GET", "/ns/pkg/blobs/sha256/00", 404, "package-not-found"},
		{"GET", "/ns/pkg/channels/x", 404, "channel-not-found"}, {"DELETE", "/ns/pkg/9.0.0/helm", 404, "package-not-found"},
	} {
		if status, answer := ask(t, c.method, packages+c.path, headers, nil); status != c.status || code(answer) != c.code {
			t.Errorf("%s %s: got %d %v, want %d %s", c.method, c.path, status, answer, c.status, c.code)
		}
	}
	if status, answer := ask(t, "DELETE", packages+"/ns/pkg/1.0.0/helm", headers, nil); status != 200 || !cmp.Equal(answer, any(map[string]any{"status": "deleted", "package": "ns/pkg", "release": "1.0.0"})) {
		t.Error(status, answer)
	}
	if status, answer := push("/ns/pkg", "1.0.0"); status != 200 {
		t.Error("after a delete:", status, answer)
	}
	if status, answer := post("/ns/pkg?force=true", `{"blob": "`+hello+`", "release": "1.0.0", "media_type": "helm"}`); status != 200 {
		t.Error("with force:", status, answer)
	}
	if status, answer := ask(t, "GET", url+"/version", nil, nil); status != 200 || !cmp.Equal(answer, any(map[string]any{"cnr-api": "0.2.7"})) {
		t.Error(status, answer)
	}
	login := []byte(`{"user": {"username": "user", "password": "password"}}`)
	if status, answer := ask(t, "POST", url+"/api/v1/users/login", nil, login); status != 200 || !cmp.Equal(answer, any(map[string]any{"token": authorization})) {
		t.Error(status, answer)
	}
	if status, answer := ask(t, "POST", url+"/api/v1/users/login", nil, []byte(`{"user": {"username": "user"}}`)); status != 400 || code(answer) != "invalid-usage" {
		t.Error(status, answer)
	}
}

// manifestDigest is of hello's manifest.
const manifestDigest = "fb699910c40875012bebb22b035417cf485b4f14d21577c7305f5208724b3399"

// guarded lets only one user in, as a registry with passwords does.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "password" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestRightsAreTheRegistrys(t *testing.T) {
	url := serveOMPS(t, guarded(images(t)), func(s *Settings) {
		s.Organizations = []OrganizationSettings{{Name: "open", Public: true}}
	})
	good := zipOf(t, operator("web"))
	if status, answer := upload(t, url+"/v2/o/zipfile", good); status != 200 {
		t.Fatal(status, answer)
	}
	wrong := "basic " + base64.StdEncoding.EncodeToString([]byte("user:wrong"))
	kind, body := form(t, "file", "m.zip", good)
	status, answer := ask(t, "POST", url+"/v2/o/zipfile/2.0.0", map[string]string{"Authorization": wrong, "Content-Type": kind}, body)
	wantFault(t, status, answer, 403, "QuayAuthorizationError", "Failed to push manifest: Unauthorized access")
	status, answer = ask(t, "DELETE", url+"/v2/o/web/1.0.0", map[string]string{"Authorization": wrong}, nil)
	wantFault(t, status, answer, 500, "QuayPackageError", "Unauthorized access")
	if status, answer := ask(t, "GET", url+"/cnr/api/v1/packages/o/web", nil, nil); status != 403 {
		t.Error(status, answer)
	}
	if _, list := ask(t, "GET", url+"/cnr/api/v1/packages", nil, nil); !cmp.Equal(list, any([]any{})) {
		t.Errorf("nobody sees %v", list)
	}
	if status, answer := upload(t, url+"/v2/open/zipfile", good); status != 200 {
		t.Fatal(status, answer)
	}
	if status, answer := ask(t, "GET", url+"/cnr/api/v1/packages/open/web/default/helm", nil, nil); status != 200 {
		t.Error("a public package is read by everybody:", status, answer)
	}
	if _, list := ask(t, "GET", url+"/cnr/api/v1/packages", nil, nil); len(list.([]any)) != 1 {
		t.Errorf("nobody sees %v", list)
	}
	if status, answer := ask(t, "DELETE", url+"/cnr/api/v1/packages/open/web/1.0.0/helm", nil, nil); status != 403 {
		t.Error("a public package is not everybody's:", status, answer)
	}
	if status, answer := ask(t, "POST", url+"/cnr/api/v1/packages/o/web", map[string]string{"Authorization": wrong}, []byte("{")); status != 403 {
		t.Error("who may not push learns that first:", status, answer)
	}
	if status, answer := ask(t, "POST", url+"/cnr/api/v1/users/login", nil, []byte(`{"user": {"username": "user", "password": "wrong"}}`)); status != 401 {
		t.Error(status, answer)
	}
	if status, answer := ask(t, "POST", url+"/cnr/api/v1/users/login", nil, []byte(`{"user": {"username": "user", "password": "password"}}`)); status != 200 {
		t.Error(status, answer)
	}
}

// TestARepositoryOfImagesIsNoPackage pushes to one as Quay's clients did.
func TestARepositoryOfImagesIsNoPackage(t *testing.T) {
	kept := images(t)
	url := serveOMPS(t, kept, nil)
	server := httptest.NewServer(kept)
	t.Cleanup(server.Close)
	manifest := `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size": 2}, "layers": []}`
	if status, answer := ask(t, "POST", server.URL+"/v2/app-registry/o/web/blobs/uploads/?digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", nil, []byte("{}")); status != 201 {
		t.Fatal(status, answer)
	}
	if status, answer := ask(t, "PUT", server.URL+"/v2/app-registry/o/web/manifests/latest", map[string]string{"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, []byte(manifest)); status != 201 {
		t.Fatal(status, answer)
	}
	status, answer := upload(t, url+"/v2/o/zipfile", zipOf(t, operator("web")))
	wantFault(t, status, answer, 500, "QuayCourierError", "Failed to push manifest: o/web is a repository of images")
	status, raw := ask(t, "POST", url+"/cnr/api/v1/packages/o/web", map[string]string{"Authorization": authorization}, []byte(`{"blob": "H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA==", "release": "1.0.0", "media_type": "helm"}`))
	if text, ok := raw.(map[string]any)["error"].(string); status != 405 || !ok || text == "" {
		t.Error(status, raw)
	}
	for name, body := range map[string]string{
		"no JSON": "{", "no members": "{}", "no version": `{"blob": "H4sI", "release": "x", "media_type": "helm"}`, "no base64": `{"blob": "-", "release": "1.0.0", "media_type": "helm"}`,
		"no archive": `{"blob": "H4sI", "release": "1.0.0", "media_type": "helm"}`,
	} {
		status, raw := ask(t, "POST", url+"/cnr/api/v1/packages/o/web", map[string]string{"Authorization": authorization}, []byte(body))
		if answer, _ := raw.(map[string]any); status != 405 || answer["error"] != "o/web is a repository of images; packages cannot be pushed to it." {
			t.Errorf("%s: that it holds images comes first: %d %v", name, status, raw)
		}
		status, raw = ask(t, "POST", url+"/cnr/api/v1/packages/o/none", map[string]string{"Authorization": authorization}, []byte(body))
		if status != 400 && (status != 422 || name != "no version") {
			t.Errorf("%s, where nothing is: %d %v", name, status, raw)
		}
	}
	if status, answer := upload(t, url+"/v2/other/zipfile", zipOf(t, operator("web"))); status != 200 {
		t.Fatal(status, answer)
	}
	auth := map[string]string{"Authorization": authorization}
	if status, answer := ask(t, "DELETE", url+"/v2/other/web", auth, nil); status != 200 {
		t.Fatal(status, answer)
	}
	if status, answer := upload(t, url+"/v2/other/zipfile", zipOf(t, operator("web"))); status != 200 || answer["version"] != "1.0.0" {
		t.Error("a package without releases is still one:", status, answer)
	}
}

func TestConcurrentPushesGetNumbersOfTheirOwn(t *testing.T) {
	url := serveOMPS(t, images(t), nil)
	good := zipOf(t, operator("web"))
	const pushes = 6
	versions := make([]string, pushes)
	var wg sync.WaitGroup
	for i := range pushes {
		wg.Go(func() {
			_, answer := upload(t, url+"/v2/o/zipfile", good)
			versions[i] = fmt.Sprint(answer["version"])
		})
	}
	wg.Wait()
	slices.Sort(versions)
	if diff := cmp.Diff([]string{"1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0"}, versions); diff != "" {
		t.Error(diff)
	}
}
