package bundle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/bundle/bundletest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

func TestABundleImageIsReadAndUnpacked(t *testing.T) {
	r := bundletest.New(t)
	spec, pinned := r.Push("ns/etcd:v1", bundletest.Files("etcd"), map[string]string{"a": "b"}, "s390x", "amd64")
	img, err := bundle.ReadImage(t.Context(), r.Pusher.Client, spec)
	if err != nil {
		t.Fatal(err)
	}
	if img.Spec != spec || img.Pinned != pinned || !strings.HasSuffix(pinned, "@"+string(img.Digest)) ||
		img.Labels["a"] != "b" || !cmp.Equal(img.Arches, []string{"amd64", "s390x"}) {
		t.Errorf("read %+v", img)
	}
	dir := filepath.Join(t.TempDir(), "unpacked")
	if err := img.Unpack(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("unpacked %v, %v", entries, err)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if metadata, err := b.Metadata(); err != nil || metadata.Package != "etcd" {
		t.Errorf("metadata %+v, %v", metadata, err)
	}
}

func TestTheYoungestArchitectureTellsWhenABundleWasMade(t *testing.T) {
	r := bundletest.New(t)
	ctx := t.Context()
	digests := make(map[string]sdk.Digest)
	for arch, days := range map[string]int{"amd64": 1, "arm64": 3, "s390x": 2} {
		digest, err := r.Pusher.Push(ctx, r.Host+"/ns/etcd:"+arch, imagetest.Image{
			Arches: []string{arch}, Single: true, Created: imagetest.Created.AddDate(0, 0, days),
		})
		if err != nil {
			t.Fatal(err)
		}
		digests[arch] = digest
	}
	if _, err := r.Pusher.Client.PutList(ctx, r.Host+"/ns/etcd:v1", digests, false); err != nil {
		t.Fatal(err)
	}
	img, err := bundle.ReadImage(ctx, r.Pusher.Client, r.Host+"/ns/etcd:v1")
	if err != nil {
		t.Fatal(err)
	}
	created, err := img.Created(ctx)
	if want := imagetest.Created.AddDate(0, 0, 3); err != nil || !created.Equal(want) {
		t.Errorf("created %s, %v; want %s", created.Format(time.DateOnly), err, want.Format(time.DateOnly))
	}
}
