package catalog

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/api/pkg/operators"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/pkg/registry"
	"go.podman.io/image/v5/docker/reference"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/iib-engine/iib/sdk"
)

const (
	manifestsDir = "manifests"
	metadataDir  = "metadata"
)

// Bundle is one version of an operator, read from an unpacked bundle image.
// It must not be changed; it may be used by several goroutines.
type Bundle struct {
	// Name is the name of the ClusterServiceVersion, Package the operator.
	Name    string
	Package string
	// Version is the CSV's version: a semantic version.
	Version string
	// Image is the pull spec that the catalog names.
	Image string
	// Channels are those that the bundle asks for, in its own order.
	Channels []string
	// DefaultChannel is the package's default channel as far as this bundle
	// has a say; often empty.
	DefaultChannel string

	// Replaces, Skips, SkipRange and SubstitutesFor are the edges of the
	// upgrade graph as the CSV declares them.
	Replaces       string
	Skips          []string
	SkipRange      string
	SubstitutesFor string

	// Blob is the olm.bundle document of a file-based catalog.
	Blob Blob

	icon    *declcfg.Icon
	rows    bundleRows
	removed []string
}

// bundleRows is a bundle as a database stores it.
type bundleRows struct {
	csv      string
	text     string // all objects, one JSON document after the other
	images   []string
	props    []typedValue
	deps     []typedValue
	provided []registry.APIKey
	required []registry.APIKey
}

// typedValue is a property or a dependency.
type typedValue struct{ Type, Value string }

// ReadBundle reads the unpacked bundle in dir, which has the directories
// manifests and metadata, as the bundle with the pull spec image. It follows
// no link out of dir. An error of code sdk.Invalid tells what the bundle's
// author has to change.
func ReadBundle(dir, image string) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the unpacked bundle %s: %w", image, pathless(err))
	}
	defer root.Close()
	return ReadBundleFS(root.FS(), image)
}

// ReadBundleFS reads a bundle like ReadBundle. What links lead to is the file
// system's affair.
func ReadBundleFS(fsys fs.FS, image string) (*Bundle, error) {
	b, err := readBundle(fsys, image)
	if err != nil {
		return nil, describe(err, "bundle %s", image)
	}
	return b, nil
}

func readBundle(fsys fs.FS, image string) (*Bundle, error) {
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the pull spec is malformed: %v", err)
	}
	budget := int64(maxBundleBytes)
	manifests, err := readBundleDir(fsys, manifestsDir, &budget)
	if err != nil {
		return nil, err
	}
	metadata, err := readBundleDir(fsys, metadataDir, &budget)
	if err != nil {
		return nil, err
	}
	parsed := &registry.Bundle{BundleImage: image}
	if err := addManifests(parsed, manifests); err != nil {
		return nil, err
	}
	if err := addMetadata(parsed, metadata); err != nil {
		return nil, err
	}
	return newBundle(parsed)
}

// addManifests decodes the manifests into b. A file that is not a Kubernetes
// object is left out: bundles carry notes and kustomizations.
func addManifests(b *registry.Bundle, docs []document) error {
	csvFile := ""
	unreadable := map[string]error{}
	for _, doc := range docs {
		obj := &unstructured.Unstructured{}
		if err := doc.decode(obj); err != nil {
			unreadable[doc.name] = err
			continue
		}
		if obj.GetKind() == operators.ClusterServiceVersionKind {
			if csvFile != "" {
				return sdk.Errorf(sdk.Invalid, "both %s and %s are a ClusterServiceVersion; a bundle has exactly one", csvFile, doc.name)
			}
			csvFile = doc.name
		}
		if obj.Object != nil {
			b.Add(obj)
		}
	}
	if csvFile == "" {
		return noCSV(docs, unreadable)
	}
	csv, err := b.ClusterServiceVersion()
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "decode the manifests: %v", err)
	}
	if csv.GetName() == "" {
		return sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s has no metadata.name", csvFile)
	}
	if len(csv.Spec) == 0 {
		return sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s has no spec", csvFile)
	}
	b.Name = csv.GetName()
	if err := b.AllProvidedAPIsInBundle(); err != nil {
		return sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s owns an API whose CustomResourceDefinition is not among the manifests: %v", csvFile, err)
	}
	return nil
}

// noCSV says why none of the manifests is a ClusterServiceVersion, pointing at
// the file that was most likely meant to be one.
func noCSV(docs []document, unreadable map[string]error) error {
	for _, doc := range docs {
		err, broken := unreadable[doc.name]
		if !broken {
			continue
		}
		lower := strings.ToLower(doc.name)
		if strings.Contains(lower, "clusterserviceversion") || strings.Contains(lower, ".csv.") ||
			strings.Contains(string(doc.data), operators.ClusterServiceVersionKind) {
			return sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s is not valid YAML: %v", doc.name, oneLine(err))
		}
	}
	return sdk.Errorf(sdk.Invalid, "none of the %d files in %s is a ClusterServiceVersion", len(docs), manifestsDir)
}

// addMetadata finds the annotations, dependencies and properties, whatever
// their files are called.
func addMetadata(b *registry.Bundle, docs []document) error {
	var dependencies []registry.Dependency
	var properties []registry.Property
	for _, doc := range docs {
		var annotations registry.AnnotationsFile
		if b.Annotations == nil && doc.decode(&annotations) == nil && annotations != (registry.AnnotationsFile{}) {
			b.Annotations = &annotations.Annotations
			b.Package = annotations.GetName()
			b.Channels = annotations.GetChannels()
		}
		var deps registry.DependenciesFile
		if dependencies == nil && doc.decode(&deps) == nil && len(deps.Dependencies) > 0 {
			dependencies = deps.Dependencies
		}
		var props registry.PropertiesFile
		if properties == nil && doc.decode(&props) == nil && len(props.Properties) > 0 {
			properties = props.Properties
		}
	}
	if b.Annotations == nil {
		return noAnnotations(docs)
	}
	for i := range dependencies {
		b.Dependencies = append(b.Dependencies, &dependencies[i])
	}
	b.Properties = properties
	if b.Package == "" {
		return sdk.Errorf(sdk.Invalid, "the annotations lack the package name, %s", packageAnnotation)
	}
	if len(b.Channels) == 0 {
		return sdk.Errorf(sdk.Invalid, "the annotations name no channel, %s", channelsAnnotation)
	}
	return nil
}

const (
	packageAnnotation  = "operators.operatorframework.io.bundle.package.v1"
	channelsAnnotation = "operators.operatorframework.io.bundle.channels.v1"
)

// noAnnotations says what is wrong with the file that was meant to hold the
// annotations.
func noAnnotations(docs []document) error {
	for _, doc := range docs {
		base := strings.TrimPrefix(doc.name, metadataDir+"/")
		if base != "annotations.yaml" && base != "annotations.yml" && base != "annotations.json" {
			continue
		}
		var content any
		if err := doc.decode(&content); err != nil {
			return sdk.Errorf(sdk.Invalid, "%s is not valid YAML: %v", doc.name, oneLine(err))
		}
		file, ok := content.(map[string]any)
		if !ok {
			return sdk.Errorf(sdk.Invalid, "%s is not a map", doc.name)
		}
		annotations, ok := file["annotations"]
		if !ok {
			return sdk.Errorf(sdk.Invalid, "%s has no key annotations", doc.name)
		}
		values, ok := annotations.(map[string]any)
		if !ok {
			return sdk.Errorf(sdk.Invalid, "the annotations in %s are not a map", doc.name)
		}
		for _, key := range []string{packageAnnotation, channelsAnnotation} {
			if value, ok := values[key]; ok {
				if _, text := value.(string); !text {
					return sdk.Errorf(sdk.Invalid, "the annotation %s in %s is not text; put it in quotes", key, doc.name)
				}
			}
		}
		return sdk.Errorf(sdk.Invalid, "the annotations in %s lack the package name, %s", doc.name, packageAnnotation)
	}
	return sdk.Errorf(sdk.Invalid, "there is no annotations file in %s", metadataDir)
}

// newBundle derives everything that a catalog says about a bundle.
func newBundle(parsed *registry.Bundle) (*Bundle, error) {
	b := &Bundle{
		Name:           parsed.Name,
		Package:        parsed.Package,
		Image:          parsed.BundleImage,
		Channels:       parsed.Channels,
		DefaultChannel: parsed.Annotations.DefaultChannelName,
		removed:        findRemovedAPIs(parsed.Objects),
	}
	var err error
	if b.Version, err = parsed.Version(); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the version in the ClusterServiceVersion's spec is not text: %v", err)
	}
	if b.Version == "" {
		return nil, sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s has no spec.version", b.Name)
	}
	if _, err := semver.Parse(b.Version); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the version %q of the ClusterServiceVersion %s is not a semantic version: %v", b.Version, b.Name, err)
	}
	if b.Replaces, err = parsed.Replaces(); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "spec.replaces of the ClusterServiceVersion %s is not text: %v", b.Name, err)
	}
	if b.Skips, err = parsed.Skips(); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "spec.skips of the ClusterServiceVersion %s is not a list of names: %v", b.Name, err)
	}
	b.Skips = splitNames(strings.Join(b.Skips, ","))
	if slices.Contains(b.Skips, "") {
		return nil, sdk.Errorf(sdk.Invalid, "spec.skips of the ClusterServiceVersion %s has an empty name", b.Name)
	}
	if b.SkipRange, err = parsed.SkipRange(); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the skip range of the ClusterServiceVersion %s: %v", b.Name, err)
	}
	if b.SkipRange != "" {
		if _, err := semver.ParseRange(b.SkipRange); err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the annotation olm.skipRange %q of the ClusterServiceVersion %s is not a version range: %v", b.SkipRange, b.Name, err)
		}
	}
	if b.SubstitutesFor, err = parsed.SubstitutesFor(); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the annotation olm.substitutesFor of the ClusterServiceVersion %s: %v", b.Name, err)
	}
	if b.SubstitutesFor == b.Name {
		return nil, sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s substitutes for itself; remove the annotation olm.substitutesFor or name an older bundle", b.Name)
	}
	if b.rows, err = newRows(parsed); err != nil {
		return nil, err
	}
	cfg, err := b.rows.render(b.Package, b.Name, b.Image, b.Version)
	if err != nil {
		return nil, err
	}
	if b.Blob, err = newBlob(declcfg.SchemaBundle, b.Package, b.Name, cfg); err != nil {
		return nil, err
	}
	b.icon, err = iconOf(b.rows.csv)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s: %v", b.Name, err)
	}
	return b, nil
}

// iconOf returns the package icon that a CSV would give, nil if it has none.
func iconOf(csvJSON string) (*declcfg.Icon, error) {
	var csv v1alpha1.ClusterServiceVersion
	if err := json.Unmarshal([]byte(csvJSON), &csv); err != nil {
		return nil, err
	}
	if len(csv.Spec.Icon) == 0 {
		return nil, nil
	}
	icon := csv.Spec.Icon[0]
	data, err := base64.StdEncoding.DecodeString(icon.Data)
	if err != nil {
		// Published operators have spaces in their icons; what cannot be read
		// even so is no icon.
		data, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(icon.Data, " ", ""))
	}
	if err != nil || len(data) == 0 {
		return nil, nil
	}
	return &declcfg.Icon{Data: data, MediaType: icon.MediaType}, nil
}

// splitNames is the inverse of joining names with commas, which is how a
// database stores skips. No text gives no names.
func splitNames(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
