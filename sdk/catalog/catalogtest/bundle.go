package catalogtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk/catalog"
)

// Registry is where generated bundles seem to be.
const Registry = "registry.example.com/bundles"

// Bundle describes one version of an operator. The zero value of a field
// leaves it out of the bundle.
type Bundle struct {
	Package, Name, Version string
	Channels               []string
	DefaultChannel         string

	Replaces       string
	Skips          []string
	SkipRange      string
	SubstitutesFor string

	// Rich bundles are as large as real ones: icon, long description,
	// examples, custom resource definitions with schemas, related images. The
	// others are small and fast to read.
	Rich bool
	// JSON writes the files as JSON, which is YAML too and several times
	// faster to write and to read. Small bundles are always like that.
	JSON bool
	// BetaCRD makes the custom resource definition one of the version v1beta1,
	// which Kubernetes 1.22 removed.
	BetaCRD bool
	// Seed varies the content of bundles that are otherwise the same.
	Seed uint64

	// MaxOpenShift declares the property olm.maxOpenShiftVersion.
	MaxOpenShift string
	// Requires are packages that the bundle depends on, with version ranges.
	Requires map[string]string
}

type fields = map[string]any

// Files returns the files of the bundle image by their paths: the directories
// manifests and metadata.
func (b Bundle) Files() map[string][]byte {
	files := map[string][]byte{"metadata/annotations.yaml": b.encode(fields{"annotations": b.Labels()})}
	files["manifests/"+b.Package+".clusterserviceversion.yaml"] = b.encode(b.csv())
	for _, crd := range b.crds() {
		files["manifests/"+crd.plural+".crd.yaml"] = b.encode(crd.manifest(b))
	}
	if b.Rich {
		files["manifests/"+b.Package+"-metrics_v1_service.yaml"] = b.encode(fields{
			"apiVersion": "v1", "kind": "Service", "metadata": fields{"name": b.Package + "-metrics"},
			"spec": fields{"ports": []any{fields{"name": "https", "port": 8443}}, "selector": fields{"app": b.Package}},
		})
	}
	if b.MaxOpenShift != "" {
		files["metadata/properties.yaml"] = b.encode(fields{"properties": []any{
			fields{"type": "olm.maxOpenShiftVersion", "value": b.MaxOpenShift},
		}})
	}
	if len(b.Requires) > 0 {
		var deps []any
		for _, name := range slices.Sorted(maps.Keys(b.Requires)) {
			deps = append(deps, fields{"type": "olm.package", "value": fields{"packageName": name, "version": b.Requires[name]}})
		}
		files["metadata/dependencies.yaml"] = b.encode(fields{"dependencies": deps})
	}
	return files
}

// Write puts the files below dir, which it makes.
func (b Bundle) Write(dir string) error {
	for name, data := range b.Files() {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Labels are the labels of the bundle image, and its annotations.
func (b Bundle) Labels() map[string]string {
	const prefix = "operators.operatorframework.io.bundle."
	labels := map[string]string{
		prefix + "mediatype.v1": "registry+v1",
		prefix + "manifests.v1": "manifests/",
		prefix + "metadata.v1":  "metadata/",
		prefix + "package.v1":   b.Package,
		prefix + "channels.v1":  strings.Join(b.Channels, ","),
	}
	if b.DefaultChannel != "" {
		labels[prefix+"channel.default.v1"] = b.DefaultChannel
	}
	return labels
}

// Image returns a pull spec by digest for the bundle in the given registry.
// The digest is that of the description, so that equal bundles share it.
func (b Bundle) Image(registry string) string {
	description, err := json.Marshal(b)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return fmt.Sprintf("%s/%s-bundle@sha256:%x", registry, b.Package, sha256.Sum256(description))
}

// Read gives the bundle as package catalog sees it, without a directory.
func (b Bundle) Read(image string) (*catalog.Bundle, error) {
	fsys := fstest.MapFS{}
	for name, data := range b.Files() {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return catalog.ReadBundleFS(fsys, image)
}

func (b Bundle) encode(v any) []byte {
	encode := json.Marshal
	if b.Rich && !b.JSON {
		encode = yaml.Marshal
	}
	data, err := encode(v)
	if err != nil {
		panic(err) // maps, lists and text
	}
	return data
}

// random returns the source for what stays the same over all versions of the
// operator, or for what varies.
func (b Bundle) random(varies bool) *rand.Rand {
	h := sha256.New()
	fmt.Fprint(h, b.Package, b.Seed)
	if varies {
		fmt.Fprint(h, b.Name, b.Version)
	}
	return rand.New(rand.NewChaCha8([32]byte(h.Sum(nil))))
}

func (b Bundle) csv() fields {
	annotations := fields{"capabilities": "Basic Install"}
	if b.SkipRange != "" {
		annotations["olm.skipRange"] = b.SkipRange
	}
	if b.SubstitutesFor != "" {
		annotations["olm.substitutesFor"] = b.SubstitutesFor
	}
	image := b.operand("manager")
	spec := fields{
		"displayName": b.Package, "version": b.Version,
		"install": fields{"strategy": "deployment", "spec": fields{"deployments": []any{b.deployment(image)}}},
		"icon":    []any{fields{"base64data": b.icon(), "mediatype": "image/png"}},
	}
	if b.Replaces != "" {
		spec["replaces"] = b.Replaces
	}
	if len(b.Skips) > 0 {
		spec["skips"] = b.Skips
	}
	var owned []any
	for _, crd := range b.crds() {
		owned = append(owned, crd.description(b))
	}
	spec["customresourcedefinitions"] = fields{"owned": owned}
	if b.Rich {
		b.enrich(spec, annotations, image)
	}
	return fields{
		"apiVersion": "operators.coreos.com/v1alpha1", "kind": "ClusterServiceVersion",
		"metadata": fields{"name": b.Name, "namespace": "placeholder", "annotations": annotations},
		"spec":     spec,
	}
}

func (b Bundle) operand(name string) string {
	return fmt.Sprintf("registry.example.com/%s/%s@sha256:%x", b.Package, name, sha256.Sum256(fmt.Append(nil, b.Name, name)))
}

func (b Bundle) deployment(image string) fields {
	labels := fields{"app": b.Package}
	return fields{"name": b.Package, "spec": fields{
		"replicas": 1, "selector": fields{"matchLabels": labels},
		"template": fields{"metadata": fields{"labels": labels}, "spec": fields{
			"serviceAccountName": b.Package,
			"containers":         []any{fields{"name": "manager", "image": image}},
		}},
	}}
}

// icon is noise, as a compressed picture is to everything here. Small bundles
// have one of their own per version, so that tests see where it came from.
func (b Bundle) icon() string {
	if !b.Rich {
		return base64.StdEncoding.EncodeToString([]byte(b.Name))
	}
	r := b.random(false)
	data := make([]byte, 3000+r.IntN(12000))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return base64.StdEncoding.EncodeToString(data)
}
