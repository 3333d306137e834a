package image

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	ggcr "github.com/google/go-containerregistry/pkg/name"

	"github.com/iib-engine/iib/sdk"
)

var created = time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)

func TestAssembledImagesArePushedAndReadBack(t *testing.T) {
	r := newTestRegistry(t)
	c := newTestClient(t)
	ctx := background(t)
	arches := []string{"amd64", "arm64", "s390x"}
	images := make(map[string]v1.Image)
	for _, arch := range arches {
		images[arch] = imageOf(t, arch, map[string]string{"from": "base", "kept": "yes"}, layerOf(t, entry{name: "bin/opm", body: arch + noise(5000)}))
	}
	base := r.put(t, "tools/base:v1", listOf(t, images, arches...))
	layer := layerFile(t, dir("configs"), entry{name: "configs/a.json", body: `{"schema":"olm.package"}`})
	config := sdk.ImageConfig{
		Labels:       map[string]string{"from": "index"},
		Entrypoint:   []string{"/bin/opm"},
		Cmd:          []string{"serve", "/configs"},
		ExposedPorts: []string{"50051"},
		Created:      created,
	}
	repo := r.host + "/build/index"

	built := make(map[string]sdk.Digest)
	var sent int64
	for _, arch := range arches {
		info, err := c.Inspect(ctx, base, arch)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Assemble(Assembly{Base: info, Arch: arch, Layers: []sdk.Layer{layer}, Config: config})
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.Push(ctx, repo, b)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
		sent -= int64(len(b.Config))
		built[arch] = b.Digest
	}
	if sent != layer.Size {
		t.Errorf("sent %d bytes of layers, want %d: the new layer once and nothing of the base", sent, layer.Size)
	}
	list, err := c.PutList(ctx, repo, built, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Tag(ctx, list.Pinned(), "v4.16"); err != nil {
		t.Fatal(err)
	}

	ref, err := ggcr.ParseReference(repo + ":v4.16")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("go-containerregistry does not find the list valid: %v", err)
	}
	got, err := c.Arches(ctx, repo+":v4.16")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(arches, got); diff != "" {
		t.Errorf("arches (-want +got):\n%s", diff)
	}
	info, err := c.Inspect(ctx, repo+":v4.16", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"from": "index", "kept": "yes"}, info.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if !info.Created.Equal(created) {
		t.Errorf("created %v, want %v", info.Created, created)
	}
	data, err := c.ReadFile(ctx, repo+":v4.16", "s390x", "/configs/a.json", 1000)
	if err != nil || string(data) != `{"schema":"olm.package"}` {
		t.Errorf("read back %q, %v", data, err)
	}
}
