package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/iib-engine/iib/sdk"
)

func serveRegistry(t testing.TB) (host string) {
	t.Helper()
	s := newService()
	if err := s.Start(t.Context(), directory{data: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// directory is a host that has a data directory and nothing else.
type directory struct {
	sdk.Host
	data string
}

func (d directory) Dirs() (data, cache string) { return d.data, d.data }

func TestImages(t *testing.T) {
	host := serveRegistry(t)
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
	t.Run("tags are listed", func(t *testing.T) {
		got, err := remote.List(ref.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"v1"}, got); diff != "" {
			t.Error(diff)
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
