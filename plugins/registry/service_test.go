package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/crypto/bcrypt"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// serveRegistry runs the plugin over the real wire and returns the host name
// under which the engine's proxy to it answers.
func serveRegistry(t testing.TB, change func(*Settings)) (host string) {
	t.Helper()
	s := newService()
	if change != nil {
		change(&s.Settings)
	}
	plugin := sdktest.Serve(t, sdk.Plugin{Name: "registry", Doc: "x", Service: s}, nil)
	server := httptest.NewServer(plugin.Service())
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func reference(t testing.TB, spec string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(spec, name.StrictValidation)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func digestOf(t testing.TB, ref name.Reference) v1.Hash {
	t.Helper()
	d, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func randomImage(t testing.TB) v1.Image {
	t.Helper()
	image, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestClientsPushAndPull(t *testing.T) {
	host := serveRegistry(t, nil)
	ref := reference(t, host+"/team/index:v1")
	index, err := random.Index(2000, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}

	t.Run("a pushed list is pulled by its tag", func(t *testing.T) {
		if got := digestOf(t, ref); got != want {
			t.Errorf("digest is %s, want %s", got, want)
		}
	})
	t.Run("a copy to another repository mounts the blobs", func(t *testing.T) {
		pulled, err := remote.Index(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(reference(t, host+"/other/index:v1"), pulled); err != nil {
			t.Fatal(err)
		}
		if got := digestOf(t, reference(t, host+"/other/index:v1")); got != want {
			t.Errorf("digest is %s, want %s", got, want)
		}
	})
	t.Run("locations are relative, so they hold behind the engine", func(t *testing.T) {
		resp, err := http.Post("http://"+host+"/v2/team/index/blobs/uploads/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Location"); !strings.HasPrefix(got, "/v2/team/index/blobs/uploads/") {
			t.Errorf("Location is %q", got)
		}
	})
	t.Run("tags and repositories are listed", func(t *testing.T) {
		tags, err := remote.List(ref.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"v1"}, tags); diff != "" {
			t.Error(diff)
		}
		registry, err := name.NewRegistry(host, name.StrictValidation)
		if err != nil {
			t.Fatal(err)
		}
		repositories, err := remote.Catalog(t.Context(), registry)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"other/index", "team/index"}, repositories); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("an overwritten tag is restored through the API", func(t *testing.T) {
		if err := remote.Write(ref, randomImage(t)); err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"manifest_digest": %q}`, want)
		resp, err := http.Post("http://"+host+"/api/v1/repository/team/index/tag/v1/restore", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := digestOf(t, ref); resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: digest is %s, want %s", resp.Status, got, want)
		}
	})
	t.Run("a manifest can be deleted", func(t *testing.T) {
		if err := remote.Delete(ref.Context().Digest(want.String())); err != nil {
			t.Fatal(err)
		}
		if _, err := remote.Head(ref); err == nil {
			t.Error("the tag is still there")
		}
	})
}

func TestUsers(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, fmt.Appendf(nil, "# staff\nanna:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	host := serveRegistry(t, func(s *Settings) {
		s.UsersFile = users
		s.Robots = []RobotSettings{{Name: "team+ci", Secret: "battery staple"}}
		s.Repositories = []RepositorySettings{
			{Pattern: "public/*", Readers: []string{"*"}, Writers: []string{"team+ci"}},
			{Pattern: "team/**", Readers: []string{"@users"}, Writers: []string{"anna", "team+ci"}},
		}
	})
	anna := remote.WithAuth(&authn.Basic{Username: "anna", Password: "correct horse"})
	robot := remote.WithAuth(&authn.Basic{Username: "team+ci", Password: "battery staple"})
	wrong := remote.WithAuth(&authn.Basic{Username: "anna", Password: "wrong"})
	write := func(repository string, options ...remote.Option) error {
		return remote.Write(reference(t, host+"/"+repository+":v1"), randomImage(t), options...)
	}
	read := func(repository string, options ...remote.Option) error {
		_, err := remote.Get(reference(t, host+"/"+repository+":v1"), options...)
		return err
	}
	for _, c := range []struct {
		what    string
		err     error
		refused bool
	}{
		{"a robot pushes where it may", write("public/a", robot), false},
		{"a user pushes where she may", write("team/deep/a", anna), false},
		{"a user does not push where she may not", write("public/a", anna), true},
		{"nobody pushes without a name", write("public/a"), true},
		{"a wrong password is refused", write("team/deep/a", wrong), true},
		{"everybody pulls what is public", read("public/a"), false},
		{"a user pulls what is for users", read("team/deep/a", robot), false},
		{"nobody pulls that without a name", read("team/deep/a"), true},
		{"what no rule gives is refused", write("elsewhere/a", robot), true},
	} {
		refusal := false
		if problem, ok := errors.AsType[*transport.Error](c.err); ok {
			refusal = problem.StatusCode == http.StatusUnauthorized || problem.StatusCode == http.StatusForbidden
		}
		if refusal != c.refused || (c.err != nil) != c.refused {
			t.Errorf("%s: %v", c.what, c.err)
		}
	}

	t.Run("the challenge leads to the engine's own address", func(t *testing.T) {
		resp, err := http.Get("http://" + host + "/v2/team/deep/a/manifests/v1")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := fmt.Sprintf(`Bearer realm="http://%s/v2/token",service="registry",scope="repository:team/deep/a:pull"`, host)
		if got := resp.Header.Get("WWW-Authenticate"); got != want {
			t.Errorf("challenge is %s, want %s", got, want)
		}
	})
	t.Run("a client with tokens lists what its user may read", func(t *testing.T) {
		registry, err := name.NewRegistry(host, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			who  string
			auth remote.Option
			want string
		}{{"a user", anna, "[public/a team/deep/a]"}, {"nobody", remote.WithAuth(authn.Anonymous), "[public/a]"}} {
			names, err := remote.Catalog(t.Context(), registry, c.auth)
			if got := fmt.Sprint(names); err != nil || got != c.want {
				t.Errorf("%s sees %s, %v, want %s", c.who, got, err, c.want)
			}
		}
		if _, err := remote.Catalog(t.Context(), registry, wrong); err == nil {
			t.Error("a wrong password lists something")
		}
	})
	t.Run("the API takes a robot's secret", func(t *testing.T) {
		for secret, want := range map[string]int{
			"Bearer team+ci:battery staple": http.StatusOK, "bearer team+ci:battery staple": http.StatusOK,
			"Bearer team+ci:wrong": http.StatusUnauthorized, "Bearer x.y": http.StatusUnauthorized, "Digest x": http.StatusUnauthorized,
			"": http.StatusUnauthorized,
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/api/v1/repository/team/deep/a/tag/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if secret != "" {
				req.Header.Set("Authorization", secret)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%q: %s, want %d", secret, resp.Status, want)
			}
		}
	})
}

func TestHostileRequests(t *testing.T) {
	host := serveRegistry(t, nil)
	base := "http://" + host
	if err := remote.Write(reference(t, host+"/team/app:v1"), randomImage(t)); err != nil {
		t.Fatal(err)
	}
	before := digestOf(t, reference(t, host+"/team/app:v1"))

	t.Run("a manifest of 100 MB is refused without being kept", func(t *testing.T) {
		for _, size := range []int64{100 << 20, -1} {
			// Each has a body of its own: a client may still send one after
			// the answer to it has come.
			body := io.LimitReader(zeros{}, 100<<20)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/v2/team/app/manifests/v1", body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = size
			req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("length %d: %s", size, resp.Status)
			}
		}
	})
	t.Run("paths that lead elsewhere lead nowhere", func(t *testing.T) {
		for _, path := range []string{
			"/v2/../../etc/manifests/v1", "/v2/%2e%2e/%2e%2e/etc/manifests/v1", "/v2/team%2f..%2fapp/manifests/v1",
			"/v2/team/app/blobs/..%2f..%2fregistry.db", "/v2/team/app/blobs/uploads/..%2f..%2fx", "/v2/team/app/manifests/..",
			"/v2/team/app/blobs/sha256:..%2f..%2fregistry.db", "/v2//manifests/v1", "/v2/team/app//manifests/v1",
			"/api/v1/repository/../../v2/tag/", "/api/v1/repository/team%2f..%2fapp/tag/", "/api/v2/", "/", "/v2x",
		} {
			req := &http.Request{Method: http.MethodGet, Header: http.Header{}}
			target, err := req.URL.Parse(base)
			if err != nil {
				t.Fatal(err)
			}
			target.Opaque = "//" + host + path
			req.URL = target
			resp, err := http.DefaultTransport.RoundTrip(req.WithContext(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
	})
	t.Run("a client that says it is somebody is not", func(t *testing.T) {
		host := serveRegistry(t, func(s *Settings) { s.Admins = []string{"root"} })
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/api/v1/repository/team/app/logs", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(sdk.UserHeader, "root")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s", resp.Status)
		}
	})
	if got := digestOf(t, reference(t, host+"/team/app:v1")); got != before {
		t.Errorf("v1 means %s, and meant %s", got, before)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestSettings(t *testing.T) {
	week := 7 * 24 * time.Hour
	negative := -time.Second
	t.Run("as shipped are valid", func(t *testing.T) {
		if err := newService().Validate(); err != nil {
			t.Error(err)
		}
	})
	t.Run("that make no sense are refused at their field", func(t *testing.T) {
		for field, change := range map[string]func(*Settings){
			"window":        func(s *Settings) { s.Window = negative },
			"hold":          func(s *Settings) { s.Hold = time.Second },
			"collect_every": func(s *Settings) { s.CollectEvery = 0 },
			"audit_for":     func(s *Settings) { s.AuditFor = negative },
			"max_blob":      func(s *Settings) { s.MaxBlob = 0 },
			"token_life":    func(s *Settings) { s.TokenLife = 0 },
			"robot":         func(s *Settings) { s.Robots = []RobotSettings{{Name: "a", Secret: "short"}} },
		} {
			settings := defaultSettings()
			change(&settings)
			problem, ok := errors.AsType[*sdk.Error](settings.Validate())
			if !ok || problem.Field != field || problem.Code != sdk.Invalid {
				t.Errorf("%s: %v", field, problem)
			}
		}
		for what, block := range map[string]RepositorySettings{
			"a pattern":         {Pattern: "a/**/b"},
			"no pattern":        {},
			"a bad class":       {Pattern: "a[/b"},
			"a window":          {Pattern: "a", Window: &negative},
			"an expression":     {Pattern: "a", Immutable: "("},
			"tags to retain":    {Pattern: "a", Retain: &RetainSettings{Tags: "(", Latest: 1}},
			"nothing to retain": {Pattern: "a", Retain: &RetainSettings{}},
		} {
			settings := defaultSettings()
			settings.Repositories = []RepositorySettings{block}
			if settings.Validate() == nil {
				t.Errorf("%s was taken", what)
			}
		}
	})
	t.Run("of the first block that says a thing decide it", func(t *testing.T) {
		settings := defaultSettings()
		settings.Repositories = []RepositorySettings{
			{Pattern: "stage/*", SparseLists: true},
			{Pattern: "stage/**", Window: &week, Immutable: "v.*"},
			{Pattern: "**", ReadOnly: true, Retain: &RetainSettings{Latest: 3, DryRun: true}},
		}
		rules := newRules(&settings)
		of := rules.of("stage/app")
		if of.Window != week || !of.SparseLists || !of.Immutable.MatchString("v1") || of.Immutable.MatchString("xv1") {
			t.Errorf("%+v", of)
		}
		if of := rules.of("other"); of.Window != settings.Window || of.SparseLists || of.Immutable != nil {
			t.Errorf("%+v", of)
		}
		if retention, dryRun, found := rules.retention("stage/app"); !found || !dryRun || retention.Latest != 3 || !rules.readOnly("x") {
			t.Errorf("%+v", retention)
		}
	})
}

// TestCollectionsHappen waits for the plugin to collect what permanent removal
// has made garbage.
func TestCollectionsHappen(t *testing.T) {
	host := serveRegistry(t, func(s *Settings) {
		s.PermanentRemoval, s.CollectEvery = true, time.Second
		s.Window = 0
		s.Repositories = []RepositorySettings{{Pattern: "team/app", Retain: &RetainSettings{Latest: 1}}}
	})
	for _, tag := range []string{"v1", "v2"} {
		if err := remote.Write(reference(t, host+"/team/app:"+tag), randomImage(t)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		resp, err := http.Get("http://" + host + "/api/v1/repository/team/app/tag/")
		if err != nil {
			t.Fatal(err)
		}
		var page struct{ Tags []struct{ Name string } }
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Tags) == 1 && page.Tags[0].Name == "v2" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the history still has %v", page.Tags)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
