package image

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

// guardedRegistry asks for bearer tokens, as hosted registries do: the token
// service gives a user a token with those of the scopes asked for that the user
// may have.
type guardedRegistry struct {
	*testRegistry
	mu sync.Mutex
	// grants maps user to repository to actions.
	grants map[string]map[string]string
	issued int
}

func newGuardedRegistry(t testing.TB, grants map[string]map[string]string) *guardedRegistry {
	t.Helper()
	g := &guardedRegistry{testRegistry: newTestRegistry(t), grants: grants}
	open := g.inner
	g.inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			g.issue(w, r)
			return
		}
		if missing := g.missing(r); missing != "" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope=%q`, g.URL, missing))
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		open.ServeHTTP(w, r)
	})
	return g
}

func (g *guardedRegistry) issue(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.issued++
	user, password, ok := r.BasicAuth()
	if ok && password != "secret of "+user {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var granted []string
	for _, scope := range r.URL.Query()["scope"] {
		for one := range strings.FieldsSeq(scope) {
			parts := strings.Split(one, ":")
			if len(parts) != 3 {
				continue
			}
			for _, action := range strings.Split(parts[2], ",") {
				if slices.Contains(strings.Split(g.grants[user][parts[1]], ","), action) {
					granted = append(granted, parts[1]+":"+action)
				}
			}
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": "t " + strings.Join(granted, " ")})
}

// missing returns the scope that a request lacks.
func (g *guardedRegistry) missing(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer t ")
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	repository := path
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/"} {
		if i := strings.Index(path, part); i >= 0 {
			repository = path[:i]
		}
	}
	if path == "" {
		if !ok && !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer") {
			return "registry"
		}
		return ""
	}
	action := "pull"
	switch r.Method {
	case http.MethodPut, http.MethodPost, http.MethodPatch:
		action = "push"
	case http.MethodDelete:
		action = "delete"
	}
	granted := strings.Fields(token)
	if !slices.Contains(granted, repository+":"+action) {
		return "repository:" + repository + ":" + action
	}
	if from := r.URL.Query().Get("from"); from != "" && !slices.Contains(granted, from+":pull") {
		// A registry that may not mount begins an upload instead.
		query := r.URL.Query()
		query.Del("from")
		query.Del("mount")
		r.URL.RawQuery = query.Encode()
	}
	return ""
}

func (g *guardedRegistry) as(user string) AccessFunc {
	return func(context.Context, string) (sdk.Access, error) {
		return sdk.Access{Username: user, Password: sdk.Secret("secret of " + user)}, nil
	}
}

func anonymously(context.Context, string) (sdk.Access, error) { return sdk.Access{}, nil }

func TestTokens(t *testing.T) {
	g := newGuardedRegistry(t, map[string]map[string]string{
		"writer": {"team/a": "pull,push,delete"},
		"reader": {"team/a": "pull"},
		"":       {"team/public": "pull"},
	})
	c, ctx := newTestClient(t), background(t)
	writer, reader := c.WithAccess(g.as("writer")), c.WithAccess(g.as("reader"))
	nobody := c.WithAccess(anonymously)
	stranger := c.WithAccess(func(context.Context, string) (sdk.Access, error) {
		return sdk.Access{Username: "reader", Password: "wrong"}, nil
	})

	b, err := Assemble(Assembly{Arch: "amd64", Layers: []sdk.Layer{layerFile(t, file("a", "1"))}})
	if err != nil {
		t.Fatal(err)
	}
	spec := g.host + "/team/a"
	if _, err := writer.Push(ctx, spec, b); err != nil {
		t.Fatal(err)
	}
	pinned := spec + "@" + string(b.Digest)
	if err := writer.Tag(ctx, pinned, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Inspect(ctx, spec+":v1", ""); err != nil {
		t.Errorf("a reader cannot read: %v", err)
	}

	g.forget()
	_, err = nobody.Inspect(ctx, spec+":v1", "")
	wantCode(t, err, sdk.Denied, "no credentials are configured")
	_, err = stranger.Inspect(ctx, spec+":v1", "")
	wantCode(t, err, sdk.Denied, "access denied")
	_, err = reader.Push(ctx, spec, mustAssemble(t, Assembly{Arch: "arm64"}))
	wantCode(t, err, sdk.Denied, "access denied")
	wantCode(t, reader.Tag(ctx, pinned, "v2"), sdk.Denied, spec+":v2", "access denied")
	for _, err := range []error{err} {
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the message shows a secret: %v", err)
		}
	}
}

func TestTheCacheGivesNobodyWhatTheirRegistryWouldRefuse(t *testing.T) {
	g := newGuardedRegistry(t, map[string]map[string]string{
		"owner":  {"secret/a": "pull,push"},
		"second": {"secret/a": "pull"},
		"other":  {"other/a": "pull,push"},
	})
	c, ctx := newTestClient(t), background(t)
	b := mustAssemble(t, Assembly{Arch: "amd64", Layers: []sdk.Layer{layerFile(t, file("a", "1"))}})
	owner := c.WithAccess(g.as("owner"))
	if _, err := owner.Push(ctx, g.host+"/secret/a", b); err != nil {
		t.Fatal(err)
	}
	pinned := g.host + "/secret/a@" + string(b.Digest)
	info, err := owner.Inspect(ctx, pinned, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Files(info).ReadFile(ctx, "a", 10); err != nil {
		t.Fatal(err)
	}

	other := c.WithAccess(g.as("other"))
	_, err = other.Inspect(ctx, pinned, "")
	wantCode(t, err, sdk.Denied, "access denied")
	// A digest that somebody knows must not be found through a repository of
	// their own either.
	_, err = other.Inspect(ctx, g.host+"/other/a@"+string(b.Digest), "")
	wantCode(t, err, sdk.NotFound)

	g.forget()
	second := c.WithAccess(g.as("second"))
	if _, err := second.ReadFile(ctx, pinned, "", "a", 10); err != nil {
		t.Errorf("another reader: %v", err)
	}
	if gets := g.requests("GET", "/secret/a/"); len(gets) != 0 {
		t.Errorf("content that is in the cache was read again: %v", gets)
	}
}

func TestBasicAuthentication(t *testing.T) {
	r := newTestRegistry(t)
	open := r.inner
	r.inner = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); user != "u" || password != "p" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		open.ServeHTTP(w, req)
	})
	c, ctx := newTestClient(t), background(t)
	good := c.WithAccess(func(context.Context, string) (sdk.Access, error) {
		return sdk.Access{Username: "u", Password: "p"}, nil
	})
	bad := c.WithAccess(func(context.Context, string) (sdk.Access, error) {
		return sdk.Access{Username: "u", Password: "q"}, nil
	})
	b := mustAssemble(t, Assembly{Arch: "amd64"})
	if _, err := good.Push(ctx, r.host+"/a/b", b); err != nil {
		t.Fatal(err)
	}
	r.forget()
	_, err := bad.Push(ctx, r.host+"/a/b", b)
	wantCode(t, err, sdk.Denied, "check the name and that the credentials")
	_, err = bad.Resolve(ctx, r.host+"/a/b@"+string(b.Digest))
	wantCode(t, err, sdk.Denied)
	_, err = good.Resolve(ctx, r.host+"/a/b@"+string(b.Digest))
	if err != nil {
		t.Error(err)
	}
}

func TestAnErrorOfAccessIsReturnedAsItStands(t *testing.T) {
	refuse := sdk.Errorf(sdk.Denied, "no access for you")
	c := newTestClient(t).WithAccess(func(context.Context, string) (sdk.Access, error) { return sdk.Access{}, refuse })
	_, err := c.Resolve(background(t), "quay.io/a/b:v1")
	if err != error(refuse) {
		t.Errorf("got %v", err)
	}
}

func mustAssemble(t testing.TB, a Assembly) *Built {
	t.Helper()
	b, err := Assemble(a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
