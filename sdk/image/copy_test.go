package image

import (
	"context"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	ggcr "github.com/google/go-containerregistry/pkg/name"

	"github.com/iib-engine/iib/sdk"
)

func fourArches(t testing.TB) (v1.ImageIndex, map[string]v1.Image) {
	t.Helper()
	images := make(map[string]v1.Image)
	shared := layerOf(t, file("configs/a.json", noise(50_000)))
	arches := []string{"amd64", "arm64", "ppc64le", "s390x"}
	for _, arch := range arches {
		images[arch] = imageOf(t, arch, nil, layerOf(t, file("bin/opm", arch+noise(20_000))), shared)
	}
	return listOf(t, images, arches...), images
}

func wantValid(t testing.TB, spec string) {
	t.Helper()
	ref, err := ggcr.ParseReference(spec)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("go-containerregistry does not find %s valid: %v", spec, err)
	}
}

func TestCopyWithinARegistryMovesNoBytes(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	list, _ := fourArches(t)
	src := r.put(t, "build/index:17", list)
	r.forget()
	got, err := c.Copy(ctx, src, r.host+"/release/index:v4.16")
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent != 0 || len(r.requests("PATCH")) != 0 || len(r.requests("GET", "/blobs/")) != 0 {
		t.Errorf("%d bytes were sent", got.Sent)
	}
	if want := r.host + "/release/index@" + string(digestOfImage(t, list)); got.Pinned() != want {
		t.Errorf("the copy is %s, want %s", got.Pinned(), want)
	}
	wantValid(t, r.host+"/release/index:v4.16")

	r.forget()
	if _, err := c.Copy(ctx, src, r.host+"/release/index:v4.16"); err != nil {
		t.Fatal(err)
	}
	if writes := r.requests("PUT"); len(writes) != 1 || !strings.HasSuffix(writes[0], "/v4.16") {
		t.Errorf("a second copy wrote %v", writes)
	}
}

func TestCopyBetweenRegistriesWithTwoCredentials(t *testing.T) {
	from := newGuardedRegistry(t, map[string]map[string]string{"us": {"build/index": "pull,push"}})
	to := newGuardedRegistry(t, map[string]map[string]string{"them": {"release/index": "pull,push"}})
	both := newTestClient(t).WithAccess(func(ctx context.Context, spec string) (sdk.Access, error) {
		if strings.HasPrefix(spec, to.host) {
			return to.as("them")(ctx, spec)
		}
		return from.as("us")(ctx, spec)
	})
	ctx := background(t)
	src := pushFourArches(t, both, from.host+"/build/index")
	for _, want := range []bool{true, false} {
		got, err := both.Copy(ctx, src, to.host+"/release/index:v4.16")
		if err != nil {
			t.Fatal(err)
		}
		if (got.Sent > 0) != want {
			t.Errorf("sent %d bytes", got.Sent)
		}
	}
	digest, err := both.Digest(ctx, to.host+"/release/index:v4.16")
	if err != nil || !strings.HasSuffix(src, string(digest)) {
		t.Errorf("the copy has the digest %s, %v, the source is %s", digest, err, src)
	}
}

func TestCopyWithinARegistryWhoseRepositoriesNoOneCredentialReads(t *testing.T) {
	g := newGuardedRegistry(t, map[string]map[string]string{
		"us":   {"build/index": "pull,push"},
		"them": {"release/index": "pull,push"},
	})
	both := newTestClient(t).WithAccess(func(ctx context.Context, spec string) (sdk.Access, error) {
		if strings.Contains(spec, "/release/") {
			return g.as("them")(ctx, spec)
		}
		return g.as("us")(ctx, spec)
	})
	// The in-memory registry has every blob in every repository; hide them.
	g.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodHead && strings.Contains(req.URL.Path, "/release/index/blobs/") && len(g.requests("PATCH", "/release/")) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	ctx := background(t)
	src := pushFourArches(t, both, g.host+"/build/index")
	got, err := both.Copy(ctx, src, g.host+"/release/index:v4.16")
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent == 0 {
		t.Error("nothing was sent, although nothing can be mounted")
	}
}

// pushFourArches builds with our own client, and returns the list's pull spec
// by digest.
func pushFourArches(t testing.TB, c *Client, repo string) string {
	t.Helper()
	ctx := background(t)
	layer := layerFile(t, file("configs/a.json", noise(30_000)))
	built := make(map[string]sdk.Digest)
	for _, arch := range []string{"amd64", "arm64", "ppc64le", "s390x"} {
		b := mustAssemble(t, Assembly{Arch: arch, Layers: []sdk.Layer{layer}, Config: sdk.ImageConfig{Created: created}})
		if _, err := c.Push(ctx, repo, b); err != nil {
			t.Fatal(err)
		}
		built[arch] = b.Digest
	}
	m, err := c.PutList(ctx, repo, built, false)
	if err != nil {
		t.Fatal(err)
	}
	return m.Pinned()
}

func TestCopyThatFailsMovesNoTag(t *testing.T) {
	from, to := newTestRegistry(t), newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	list, _ := fourArches(t)
	src := from.put(t, "build/index:17", list)
	old := imageOf(t, "amd64", map[string]string{"old": "1"})
	dst := to.put(t, "release/index:v4.16", old)
	to.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPatch && len(to.requests("PATCH")) > 3 {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	_, err := c.Copy(ctx, src, dst)
	wantCode(t, err, sdk.Denied, to.host+"/release/index")
	if d, err := c.Digest(ctx, dst); err != nil || d != digestOfImage(t, old) {
		t.Errorf("the tag points to %s, %v", d, err)
	}
}

func TestCopyOfWhatIsNotThere(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	_, err := c.Copy(ctx, r.host+"/a/b:v1", r.host+"/a/c:v1")
	wantCode(t, err, sdk.NotFound, r.host+"/a/b:v1")
	src := r.put(t, "a/b:v1", imageOf(t, "amd64", nil))
	_, err = c.Copy(ctx, src, r.host+"/a/c@"+someDigest)
	wantCode(t, err, sdk.Invalid, someDigest)
}
