package image

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/iib-engine/iib/sdk"
)

func ociImageOf(t testing.TB, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.MediaType(imageOf(t, arch, nil), types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: types.OCILayer}); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func TestResolve(t *testing.T) {
	r := newTestRegistry(t)
	amd, arm := imageOf(t, "amd64", nil), imageOf(t, "arm64", nil)
	list := listOf(t, map[string]v1.Image{"amd64": amd, "arm64": arm}, "arm64", "amd64")
	ociList := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: ociImageOf(t, "s390x"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})

	tests := map[string]struct {
		spec   string
		digest sdk.Digest
		list   bool
		// bundle is what a bundle's spec resolves to.
		bundle sdk.Digest
		arches []string
	}{
		"a Docker image": {r.put(t, "a/image:v1", amd), digestOfImage(t, amd), false, digestOfImage(t, amd), []string{"amd64"}},
		"a Docker list":  {r.put(t, "a/list:v1", list), digestOfImage(t, list), true, digestOfImage(t, arm), []string{"amd64", "arm64"}},
		"an OCI image":   {r.put(t, "a/oci:v1", ociImageOf(t, "ppc64le")), digestOfImage(t, ociImageOf(t, "ppc64le")), false, digestOfImage(t, ociImageOf(t, "ppc64le")), []string{"ppc64le"}},
		"an OCI index":   {r.put(t, "a/index:v1", ociList), digestOfImage(t, ociList), true, digestOfImage(t, ociImageOf(t, "s390x")), []string{"s390x"}},
		"no tag is latest": {
			strings.TrimSuffix(r.put(t, "a/latest:latest", amd), ":latest"), digestOfImage(t, amd), false, digestOfImage(t, amd), []string{"amd64"},
		},
		"a digest": {r.host + "/a/list@" + string(digestOfImage(t, list)), digestOfImage(t, list), true, digestOfImage(t, arm), []string{"amd64", "arm64"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, ctx := newTestClient(t), background(t)
			m, err := c.Resolve(ctx, tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if m.Digest != tt.digest || m.IsList() != tt.list {
				t.Errorf("resolves to %s (list %t), want %s (list %t)", m.Digest, m.IsList(), tt.digest, tt.list)
			}
			if want := "@" + string(tt.digest); !strings.HasSuffix(m.Pinned(), want) || strings.Contains(m.Pinned(), ":v1") {
				t.Errorf("pinned is %s", m.Pinned())
			}
			b, err := c.ResolveBundle(ctx, tt.spec)
			if err != nil || b.Digest != tt.bundle {
				t.Errorf("as a bundle: %v, %v, want %s", b, err, tt.bundle)
			}
			arches, err := c.Arches(ctx, tt.spec)
			if diff := cmp.Diff(tt.arches, arches); err != nil || diff != "" {
				t.Errorf("arches: %v\n%s", err, diff)
			}
			digest, err := c.Digest(ctx, tt.spec)
			if err != nil || digest != tt.digest {
				t.Errorf("digest %s, %v", digest, err)
			}
		})
	}
}

func TestListEntriesThatAreNoImages(t *testing.T) {
	r := newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	list := mutate.AppendManifests(listOf(t, map[string]v1.Image{"amd64": imageOf(t, "amd64", nil)}, "amd64"),
		mutate.IndexAddendum{Add: imageOf(t, "unknown", map[string]string{"a": "1"}), Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
		}},
		mutate.IndexAddendum{Add: imageOf(t, "arm64", map[string]string{"a": "2"}), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "windows", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: imageOf(t, "s390x", map[string]string{"a": "3"}), Descriptor: v1.Descriptor{Platform: &v1.Platform{}}},
	)
	spec := r.put(t, "a/mixed:v1", list)
	arches, err := c.Arches(ctx, spec)
	if diff := cmp.Diff([]string{"amd64", "s390x"}, arches); err != nil || diff != "" {
		t.Errorf("arches: %v\n%s", err, diff)
	}
	if _, err := c.Inspect(ctx, spec, "s390x"); err != nil {
		t.Errorf("an entry that tells no platform: %v", err)
	}
	_, err = c.Inspect(ctx, spec, "arm64")
	wantCode(t, err, sdk.NotFound, "no image for arm64", "amd64, s390x")
}

func TestListThatNamesTheWrongImage(t *testing.T) {
	r := newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	spec := r.put(t, "a/wrong:v1", listOf(t, map[string]v1.Image{"s390x": imageOf(t, "amd64", nil)}, "s390x"))
	_, err := c.Inspect(ctx, spec, "s390x")
	wantCode(t, err, sdk.Invalid, "for s390x", "one for amd64")
}

func TestInspect(t *testing.T) {
	r := newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	layers := []v1.Layer{layerOf(t, entry{name: "a", body: "1"}), layerOf(t, entry{name: "b", body: "2"})}
	spec := r.put(t, "a/image:v1", imageOf(t, "amd64", map[string]string{"k": "v"}, layers...))
	info, err := c.Inspect(ctx, spec, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if info.Labels["k"] != "v" || info.Arch != "amd64" || info.Created.Year() != 2024 || len(info.Config.History) != 2 {
		t.Errorf("info is %+v", info)
	}
	for i, l := range layers {
		digest, _ := l.Digest()
		diffID, _ := l.DiffID()
		size, _ := l.Size()
		want := Layer{digestOf(digest), digestOf(diffID), size, string(types.DockerLayer)}
		if diff := cmp.Diff(want, info.Layers[i]); diff != "" {
			t.Errorf("layer %d (-want +got):\n%s", i, diff)
		}
	}
	_, err = c.Inspect(ctx, spec, "arm64")
	wantCode(t, err, sdk.NotFound, spec[:len(spec)-len(":v1")], "no image for arm64", "only for amd64")
}

func TestHostileManifests(t *testing.T) {
	descriptor := `{"mediaType":"application/vnd.docker.container.image.v1+json","size":2,"digest":"` + someDigest + `"}`
	tests := map[string]struct{ body, word string }{
		"not JSON":                {"<html>", "not valid JSON"},
		"empty":                   {"", "not valid JSON"},
		"another schema":          {`{"schemaVersion":3}`, "schema version 3"},
		"schema 1":                {`{"schemaVersion":1,"fsLayers":[]}`, "push the image again"},
		"image and list at once":  {`{"schemaVersion":2,"manifests":[],"layers":[],"config":` + descriptor + `}`, "both images and layers"},
		"list type with layers":   {`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}`, "media type"},
		"an unknown type":         {`{"schemaVersion":2,"mediaType":"application/x-evil","config":` + descriptor + `}`, "application/x-evil"},
		"no config":               {`{"schemaVersion":2,"layers":[]}`, "config"},
		"a negative size":         {`{"schemaVersion":2,"config":` + descriptor + `,"layers":[{"size":-1,"digest":"` + someDigest + `"}]}`, "impossible size"},
		"a digest with a path":    {`{"schemaVersion":2,"config":` + descriptor + `,"layers":[{"size":1,"digest":"sha256:../../../etc/passwd"}]}`, "malformed"},
		"no digest":               {`{"schemaVersion":2,"manifests":[{"size":1}]}`, "no sha256 digest"},
		"ten thousand layers":     {`{"schemaVersion":2,"config":` + descriptor + `,"layers":[` + strings.Repeat(descriptor+",", 9999) + descriptor + `]}`, "at most 1000"},
		"ten megabytes":           {`{"schemaVersion":2,"annotations":{"a":"` + strings.Repeat("x", 10<<20) + `"}}`, "more than 4194304 bytes"},
		"a control character":     {`{"schemaVersion":2,"mediaType":"a\u001b[31mb","layers":[],"config":` + descriptor + `}`, "media type"},
		"a list that is an image": {`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":` + descriptor + `}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestRegistry(t)
			c, ctx := newTestClient(t), background(t)
			r.setFault(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, "/manifests/") {
					return false
				}
				w.Header().Set("Content-Type", string(types.DockerManifestSchema2))
				fmt.Fprint(w, tt.body)
				return true
			})
			_, err := c.ResolveBundle(ctx, r.host+"/a/b:v1")
			wantCode(t, err, sdk.Invalid, r.host+"/a/b", tt.word)
			if strings.ContainsRune(err.Error(), 0x1b) || len(err.Error()) > 1000 {
				t.Errorf("the message is not fit to be shown: %q", err)
			}
			if n := len(r.requests("GET", "/manifests/")); n != 1 {
				t.Errorf("asked %d times for a manifest that stays wrong", n)
			}
		})
	}
}

func TestListInAList(t *testing.T) {
	r := newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	inner := listOf(t, map[string]v1.Image{"amd64": imageOf(t, "amd64", nil)}, "amd64")
	outer := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.DockerManifestList), mutate.IndexAddendum{Add: inner})
	_, err := c.ResolveBundle(ctx, r.put(t, "a/outer:v1", outer))
	wantCode(t, err, sdk.Invalid, "list in a list")
}

func TestImageThatIsNoContainerImage(t *testing.T) {
	r := newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json")
	_, err := c.Inspect(ctx, r.put(t, "charts/a:v1", img), "")
	wantCode(t, err, sdk.Invalid, "not a container image", "helm")
}

func TestConfigThatDoesNotFit(t *testing.T) {
	r := newTestRegistry(t)
	c, ctx := newTestClient(t), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, entry{name: "a", body: "1"})))

	_, err := c.WithLimits(Limits{Config: 100}).Inspect(ctx, spec, "")
	wantCode(t, err, sdk.Invalid, "configuration has", "at most 100")

	img, err := mutate.ConfigFile(imageOf(t, "amd64", nil, layerOf(t, entry{name: "a", body: "1"})), &v1.ConfigFile{Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Inspect(ctx, r.put(t, "a/b:v2", img), "")
	wantCode(t, err, sdk.Invalid, "0 layers", "manifest of 1")
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"` + someDigest + `","size":1},"layers":[{"digest":"` + someDigest + `","size":1}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"` + someDigest + `","platform":null}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ref := Ref{Registry: "r", Repository: "a", Digest: sum(raw)}
		m, err := parseManifest(ref, raw)
		if err != nil {
			if sdk.CodeOf(err) != sdk.Invalid {
				t.Errorf("code %s: %v", sdk.CodeOf(err), err)
			}
			return
		}
		if (m.list == nil) == (m.image == nil) || !bytes.Equal(m.Raw, raw) || m.MediaType == "" {
			t.Errorf("manifest is %+v", m)
		}
	})
}
