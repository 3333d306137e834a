package image

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/zstd"

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

func TestTheSameAssemblyGivesTheSameBytes(t *testing.T) {
	layer := layerFile(t, file("configs/a.json", "{}"))
	assemble := func() *Built {
		labels := make(map[string]string)
		for _, k := range []string{"a", "b", "c", "d", "e", "f"} {
			labels[k] = k
		}
		return mustAssemble(t, Assembly{Arch: "amd64", Layers: []sdk.Layer{layer}, Config: sdk.ImageConfig{
			Labels: labels, ExposedPorts: []string{"1", "2/udp", "3"}, Created: created.In(time.FixedZone("elsewhere", 7200)),
		}})
	}
	first := assemble()
	for range 20 {
		if b := assemble(); b.Digest != first.Digest || !bytes.Equal(b.Config, first.Config) {
			t.Fatal("two assemblies differ")
		}
	}
	// Written down, so that a change of the library cannot move digests unseen.
	const golden = `{"architecture":"amd64","created":"2025-03-04T05:06:07Z","history":[{"created":"2025-03-04T05:06:07Z","created_by":"test layer"}],"os":"linux",` +
		`"rootfs":{"type":"layers","diff_ids":["DIFFID"]},"config":{"Labels":{"a":"a","b":"b","c":"c","d":"d","e":"e","f":"f"},"ExposedPorts":{"1/tcp":{},"2/udp":{},"3/tcp":{}}}}`
	want := string(bytes.Replace([]byte(golden), []byte("DIFFID"), []byte(layer.DiffID), 1))
	if diff := cmp.Diff(want, string(first.Config)); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestScratch(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	for name, layers := range map[string][]sdk.Layer{"with a layer": {layerFile(t, file("a", "1"))}, "empty": nil} {
		t.Run(name, func(t *testing.T) {
			b := mustAssemble(t, Assembly{Arch: "amd64", Layers: layers})
			if _, err := c.Push(ctx, r.host+"/a/b", b); err != nil {
				t.Fatal(err)
			}
			ref, err := ggcr.ParseReference(r.host + "/a/b@" + string(b.Digest))
			if err != nil {
				t.Fatal(err)
			}
			img, err := remote.Image(ref)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(img); err != nil {
				t.Error(err)
			}
		})
	}
}

// inspected pushes an image and inspects it.
func inspected(t testing.TB, img v1.Image) (*Client, *Info) {
	t.Helper()
	r, c := newTestRegistry(t), newTestClient(t)
	info, err := c.Inspect(background(t), r.put(t, "a/base:v1", img), "")
	if err != nil {
		t.Fatal(err)
	}
	return c, info
}

func configOf(t testing.TB, b *Built) *v1.ConfigFile {
	t.Helper()
	var config v1.ConfigFile
	if err := json.Unmarshal(b.Config, &config); err != nil {
		t.Fatal(err)
	}
	return &config
}

func manifestOf(t testing.TB, b *Built) *v1.Manifest {
	t.Helper()
	m, err := v1.ParseManifest(bytes.NewReader(b.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConfigurationOnTopOfABase(t *testing.T) {
	img := imageOf(t, "arm64", map[string]string{"keep": "1", "change": "old"}, layerOf(t, file("bin/opm", "x")))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Variant = "v8"
	config.DockerVersion, config.Container = "1.2.3", "abc"
	config.Config.User, config.Config.Env, config.Config.WorkingDir = "1001", []string{"PATH=/bin"}, "/work"
	config.Config.Entrypoint, config.Config.Cmd = []string{"/bin/sh"}, []string{"-c", "true"}
	config.Config.ExposedPorts = map[string]struct{}{"8080/tcp": {}}
	config.Config.Image = "sha256:abc"
	config.History = append([]v1.History{{CreatedBy: "LABEL a", EmptyLayer: true}}, config.History...)
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	_, base := inspected(t, img)
	before, err := json.Marshal(base.Config)
	if err != nil {
		t.Fatal(err)
	}

	kept := configOf(t, mustAssemble(t, Assembly{Base: base, Arch: "arm64"}))
	if diff := cmp.Diff(config.Config.Entrypoint, kept.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	if !kept.Created.Equal(config.Created.Time) {
		t.Errorf("created %v without one given, want the base's", kept.Created)
	}

	layer := layerFile(t, file("configs/a.json", "{}"))
	got := configOf(t, mustAssemble(t, Assembly{Base: base, Arch: "arm64", Layers: []sdk.Layer{layer}, Config: sdk.ImageConfig{
		Labels:       map[string]string{"change": "new", "add": "2"},
		Entrypoint:   []string{"/bin/opm"},
		Cmd:          []string{"serve", "/configs"},
		ExposedPorts: []string{"50051"},
		Created:      created,
	}}))
	want := config.DeepCopy()
	want.DockerVersion, want.Container, want.Config.Image = "", "", ""
	want.Created = v1.Time{Time: created}
	want.Config.Labels = map[string]string{"keep": "1", "change": "new", "add": "2"}
	want.Config.Entrypoint, want.Config.Cmd = []string{"/bin/opm"}, []string{"serve", "/configs"}
	want.Config.ExposedPorts = map[string]struct{}{"8080/tcp": {}, "50051/tcp": {}}
	want.History = append(want.History, v1.History{Created: v1.Time{Time: created}, CreatedBy: "test layer"})
	want.RootFS.DiffIDs = append(want.RootFS.DiffIDs, hashOf(sdk.Digest(layer.DiffID)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	after, err := json.Marshal(base.Config)
	if err != nil || !bytes.Equal(before, after) {
		t.Error("assembling changed the base")
	}
}

func TestAHistoryThatDoesNotFitIsLeftOut(t *testing.T) {
	img := imageOf(t, "amd64", nil, layerOf(t, file("a", "1")), layerOf(t, file("b", "2")))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.History = config.History[:1]
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	_, base := inspected(t, img)
	got := configOf(t, mustAssemble(t, Assembly{Base: base, Arch: "amd64", Layers: []sdk.Layer{layerFile(t, file("c", "3"))}}))
	if len(got.History) != 0 || len(got.RootFS.DiffIDs) != 3 {
		t.Errorf("history %v over %d layers", got.History, len(got.RootFS.DiffIDs))
	}
}

func TestMediaTypes(t *testing.T) {
	docker := imageOf(t, "amd64", nil, layerOf(t, file("a", "1")))
	oci := ociImageOf(t, "amd64", layerOf(t, file("a", "1")))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll(tarOf(t, file("a", "1")), nil)
	withZstd, err := mutate.Append(ociImageOf(t, "amd64"), mutate.Addendum{Layer: static.NewLayer(packed, types.OCILayerZStd)})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := mutate.Append(imageOf(t, "amd64", nil), mutate.Addendum{Layer: layerOf(t, file("a", "1")), MediaType: types.DockerForeignLayer})
	if err != nil {
		t.Fatal(err)
	}
	zstdLayer := layerFile(t, file("b", "2"))
	zstdFile := filepath.Join(t.TempDir(), "layer.tar.zst")
	packed = z.EncodeAll(tarOf(t, file("b", "2")), nil)
	if err := os.WriteFile(zstdFile, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	zstdLayer.Path, zstdLayer.Size, zstdLayer.Digest = zstdFile, int64(len(packed)), string(sum(packed))
	gzipLayer := layerFile(t, file("b", "2"))

	tests := map[string]struct {
		base     v1.Image
		layer    sdk.Layer
		oci      bool
		manifest types.MediaType
		layers   []types.MediaType
		fault    string
	}{
		"a Docker base for Docker": {docker, gzipLayer, false, types.DockerManifestSchema2, []types.MediaType{types.DockerLayer, types.DockerLayer}, ""},
		"an OCI base for Docker":   {oci, gzipLayer, false, types.DockerManifestSchema2, []types.MediaType{types.DockerLayer, types.DockerLayer}, ""},
		"a Docker base for OCI":    {docker, gzipLayer, true, types.OCIManifestSchema1, []types.MediaType{types.OCILayer, types.OCILayer}, ""},
		"an OCI base for OCI":      {oci, gzipLayer, true, types.OCIManifestSchema1, []types.MediaType{types.OCILayer, types.OCILayer}, ""},
		"a zstd base for OCI":      {withZstd, gzipLayer, true, types.OCIManifestSchema1, []types.MediaType{types.OCILayerZStd, types.OCILayer}, ""},
		"a zstd layer for OCI":     {oci, zstdLayer, true, types.OCIManifestSchema1, []types.MediaType{types.OCILayer, types.OCILayerZStd}, ""},
		"a zstd base for Docker":   {withZstd, gzipLayer, false, "", nil, "tar+zstd"},
		"a zstd layer for Docker":  {docker, zstdLayer, false, "", nil, "compressed with zstd"},
		"a foreign layer":          {foreign, gzipLayer, false, "", nil, "foreign"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, base := inspected(t, tt.base)
			b, err := Assemble(Assembly{Base: base, Arch: "amd64", Layers: []sdk.Layer{tt.layer}, OCI: tt.oci})
			if tt.fault != "" {
				wantCode(t, err, sdk.Invalid, tt.fault)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m := manifestOf(t, b)
			var got []types.MediaType
			for _, l := range m.Layers {
				got = append(got, l.MediaType)
			}
			if diff := cmp.Diff(tt.layers, got); diff != "" || m.MediaType != tt.manifest {
				t.Errorf("manifest %s, layers (-want +got):\n%s", m.MediaType, diff)
			}
			ctx := background(t)
			repo := base.Ref.Registry + "/out/image"
			if _, err := c.Push(ctx, repo, b); err != nil {
				t.Fatal(err)
			}
			data, err := c.ReadFile(ctx, repo+"@"+string(b.Digest), "amd64", "b", 10)
			if err != nil || string(data) != "2" {
				t.Errorf("read back %q, %v", data, err)
			}
		})
	}
}

func TestAssembleRefuses(t *testing.T) {
	_, base := inspected(t, imageOf(t, "amd64", nil))
	good := layerFile(t, file("a", "1"))
	bad := good
	bad.DiffID = ""
	gone := good
	gone.Path = filepath.Join(t.TempDir(), "none")
	tests := map[string]struct {
		a    Assembly
		code sdk.Code
		word string
	}{
		"no architecture":                {Assembly{}, sdk.Invalid, "no architecture"},
		"a base of another architecture": {Assembly{Base: base, Arch: "s390x"}, sdk.Invalid, "one for amd64"},
		"a layer without a diff ID":      {Assembly{Arch: "amd64", Layers: []sdk.Layer{bad}}, sdk.Invalid, "no valid digest"},
		"a layer without a file":         {Assembly{Arch: "amd64", Layers: []sdk.Layer{gone}}, sdk.Internal, "no such file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Assemble(tt.a)
			wantCode(t, err, tt.code, tt.word)
		})
	}
}

func TestABaseInAnotherRegistryIsCarriedOver(t *testing.T) {
	c, base := inspected(t, imageOf(t, "amd64", nil, layerOf(t, file("bin/opm", noise(50_000)))))
	r := newTestRegistry(t)
	b := mustAssemble(t, Assembly{Base: base, Arch: "amd64", Layers: []sdk.Layer{layerFile(t, file("a", "1"))}})
	ctx := background(t)
	sent, err := c.Push(ctx, r.host+"/a/b", b)
	if err != nil {
		t.Fatal(err)
	}
	if want := base.Layers[0].Size; sent < want {
		t.Errorf("sent %d bytes, want at least %d", sent, want)
	}
	if sent, err = c.Push(ctx, r.host+"/a/b", b); err != nil || sent != 0 {
		t.Errorf("the second push sent %d, %v", sent, err)
	}
}
