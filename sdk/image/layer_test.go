package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func TestWalkLayer(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	info, err := c.Inspect(ctx, r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, file("one", "1"), file("two", "22"), file("three", noise(5000))))), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("all of it", func(t *testing.T) {
		got := make(map[string]int)
		err := c.WalkLayer(ctx, info, info.Layers[0], func(h *tar.Header, r io.Reader) error {
			data, err := io.ReadAll(r)
			got[h.Name] = len(data)
			return err
		})
		if diff := cmp.Diff(map[string]int{"one": 1, "two": 2, "three": 5000}, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
	t.Run("no further than needed", func(t *testing.T) {
		n := 0
		err := c.WalkLayer(ctx, info, info.Layers[0], func(*tar.Header, io.Reader) error {
			n++
			return ErrStop
		})
		if err != nil || n != 1 {
			t.Errorf("visited %d entries, %v", n, err)
		}
	})
	t.Run("until the visitor fails", func(t *testing.T) {
		own := errors.New("not what I wanted")
		err := c.WalkLayer(ctx, info, info.Layers[0], func(*tar.Header, io.Reader) error { return own })
		if err != own {
			t.Errorf("got %v", err)
		}
	})
	t.Run("within the limits", func(t *testing.T) {
		err := c.WithLimits(Limits{Total: 3000}).WalkLayer(ctx, info, info.Layers[0], func(_ *tar.Header, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		wantCode(t, err, sdk.Invalid, "unpacks to more than 3000 bytes")
	})
	t.Run("until it is cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.Path, "/blobs/") {
				cancel()
				<-req.Context().Done()
			}
			return false
		})
		defer r.setFault(nil)
		err := newTestClient(t).WalkLayer(ctx, info, info.Layers[0], func(*tar.Header, io.Reader) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOpenLayer(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	archive := tarOf(t, file("one", noise(50_000)))
	info, err := c.Inspect(ctx, r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOfTar(t, archive))), "")
	if err != nil {
		t.Fatal(err)
	}
	read := func(c *Client) (sdk.Digest, error) {
		rc, err := c.OpenLayer(ctx, info, info.Layers[0])
		if err != nil {
			return "", err
		}
		defer rc.Close()
		return hashAll(rc)
	}
	for _, how := range []string{"cold", "warm"} {
		if got, err := read(c); err != nil || got != info.Layers[0].DiffID {
			t.Errorf("%s: read %s, %v, want %s", how, got, err, info.Layers[0].DiffID)
		}
	}
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, string(info.Layers[0].Digest)) {
			return false
		}
		// Right in form and length, but not what was asked for.
		other := gzipped(t, tarOf(t, file("one", strings.Repeat("x", 50_000))))
		_, _ = w.Write(append(other, make([]byte, int(info.Layers[0].Size)-len(other))...))
		return true
	})
	_, err = read(newTestClient(t))
	wantCode(t, err, sdk.Unavailable, string(info.Layers[0].Digest), "does not match its digest")
	err = newTestClient(t).WalkLayer(ctx, info, info.Layers[0], func(*tar.Header, io.Reader) error { return nil })
	wantCode(t, err, sdk.Unavailable, string(info.Layers[0].Digest), "does not match its digest")

	// Damaged so that it shows when the layer is opened.
	small, err := c.Inspect(ctx, r.put(t, "a/b:small", imageOf(t, "amd64", nil, layerOf(t, file("one", "1")))), "")
	if err != nil {
		t.Fatal(err)
	}
	r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, string(small.Layers[0].Digest)) {
			return false
		}
		_, _ = w.Write(append([]byte{0x1f, 0x8b}, make([]byte, small.Layers[0].Size-2)...))
		return true
	})
	_, err = newTestClient(t).OpenLayer(ctx, small, small.Layers[0])
	wantCode(t, err, sdk.Unavailable, string(small.Layers[0].Digest), "does not match its digest")

	missing := info.Layers[0]
	missing.Digest = someDigest
	_, err = c.OpenLayer(ctx, info, missing)
	wantCode(t, err, sdk.NotFound, someDigest)
}

func TestOpenBlobRefuses(t *testing.T) {
	c, ctx := newTestClient(t), background(t)
	_, err := c.OpenBlob(ctx, "not a spec", someDigest, -1)
	wantCode(t, err, sdk.Invalid, "pull spec")
	_, err = c.OpenBlob(ctx, "quay.io/a/b", "sha256:../x", -1)
	wantCode(t, err, sdk.Invalid, "not a sha256 digest")
	_, err = c.OpenBlob(ctx, "quay.io/a/b", someDigest, 1<<50)
	wantCode(t, err, sdk.Invalid, "at most")
}
