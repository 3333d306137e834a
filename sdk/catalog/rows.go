package catalog

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
)

// newRows derives what a database stores about a bundle. It is the source of
// the file-based form too, because operator-registry's own path goes from the
// bundle through the database to the file, and loses and adds on the way.
func newRows(b *registry.Bundle) (bundleRows, error) {
	var r bundleRows
	_, _, csv, text, _, err := b.Serialize()
	if err != nil {
		return r, sdk.Errorf(sdk.Invalid, "encode the manifests: %v", err)
	}
	r.csv, r.text = string(csv), string(text)

	images, err := b.Images()
	if err != nil {
		return r, sdk.Errorf(sdk.Invalid, "read the images of the ClusterServiceVersion %s: %v", b.Name, err)
	}
	r.images = slices.Sorted(maps.Keys(images))

	provided, err := b.ProvidedAPIs()
	if err != nil {
		return r, sdk.Errorf(sdk.Invalid, "read the APIs that the ClusterServiceVersion %s provides: %v", b.Name, err)
	}
	required, err := b.RequiredAPIs()
	if err != nil {
		return r, sdk.Errorf(sdk.Invalid, "read the APIs that the ClusterServiceVersion %s requires: %v", b.Name, err)
	}
	r.provided = slices.SortedFunc(maps.Keys(provided), compareAPIs)
	r.required = slices.SortedFunc(maps.Keys(required), compareAPIs)

	if r.props, err = bundleProperties(b, r.provided); err != nil {
		return r, err
	}
	for _, d := range b.Dependencies {
		r.deps = append(r.deps, typedValue{d.Type, string(d.Value)})
	}
	for _, api := range r.required {
		value, err := json.Marshal(registry.GVKDependency{Group: api.Group, Kind: api.Kind, Version: api.Version})
		if err != nil {
			return r, err
		}
		r.deps = append(r.deps, typedValue{registry.GVKType, string(value)})
	}
	return r, nil
}

func compareAPIs(a, b registry.APIKey) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Version, b.Version), cmp.Compare(a.Plural, b.Plural))
}

// bundleProperties collects the properties of the properties file, those in
// the CSV's annotation olm.properties, the package and the provided APIs: a
// set, sorted.
func bundleProperties(b *registry.Bundle, provided []registry.APIKey) ([]typedValue, error) {
	set := map[typedValue]bool{}
	add := func(typ string, value any) error {
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		set[typedValue{typ, string(data)}] = true
		return nil
	}
	for _, p := range b.Properties {
		if err := add(p.Type, p.Value); err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the property %s: %v", p.Type, err)
		}
	}
	csv, err := b.ClusterServiceVersion()
	if err != nil {
		return nil, err
	}
	if text, ok := csv.GetAnnotations()[registry.PropertyKey]; ok {
		var annotated []registry.Property
		if err := json.Unmarshal([]byte(text), &annotated); err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the annotation %s of the ClusterServiceVersion %s is not a JSON list of properties: %v", registry.PropertyKey, b.Name, err)
		}
		for _, p := range annotated {
			if err := checkProperty(p); err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "the annotation %s of the ClusterServiceVersion %s: property %s: %v", registry.PropertyKey, b.Name, p.Type, err)
			}
			if err := add(p.Type, p.Value); err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "the annotation %s of the ClusterServiceVersion %s: %v", registry.PropertyKey, b.Name, err)
			}
		}
	}
	version, err := b.Version()
	if err != nil {
		return nil, err
	}
	release, err := b.Release()
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "spec.release of the ClusterServiceVersion %s: %v", b.Name, err)
	}
	if err := add(registry.PackageType, registry.PackageProperty{PackageName: b.Package, Version: version, Release: release}); err != nil {
		return nil, err
	}
	for _, api := range provided {
		if err := add(registry.GVKType, registry.GVKProperty{Group: api.Group, Kind: api.Kind, Version: api.Version}); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Keys(set), compareTyped), nil
}

func compareTyped(a, b typedValue) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Value, b.Value))
}

// checkProperty decodes the values of the types that have a meaning here.
func checkProperty(p registry.Property) error {
	switch p.Type {
	case registry.LabelType:
		return json.Unmarshal(p.Value, &registry.LabelProperty{})
	case registry.PackageType:
		return json.Unmarshal(p.Value, &registry.PackageProperty{})
	case registry.GVKType:
		return json.Unmarshal(p.Value, &registry.GVKProperty{})
	}
	return nil
}

// render gives the olm.bundle document. A bundle without CSV text, as the
// semver modes leave older bundles, has no CSV metadata and nameless images.
func (r *bundleRows) render(pkg, name, image, version string) (*declcfg.Bundle, error) {
	props, err := r.properties(pkg, version)
	if err != nil {
		return nil, err
	}
	related, err := r.relatedImages()
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "spec.relatedImages of the ClusterServiceVersion %s: %v", name, err)
	}
	if r.csv != "" && image != "" {
		var csv v1alpha1.ClusterServiceVersion
		if err := json.Unmarshal([]byte(r.csv), &csv); err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the ClusterServiceVersion %s does not have the right form: %v", name, err)
		}
		props = append(props, property.MustBuildCSVMetadata(csv))
	} else {
		objects, err := registry.BundleStringToObjectStrings(r.text)
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the stored objects of the bundle %s are not JSON: %v", name, err)
		}
		props = append(props, objectProperties(objects)...)
	}
	return &declcfg.Bundle{
		Schema: declcfg.SchemaBundle, Name: name, Package: pkg, Image: image,
		Properties: props, RelatedImages: related,
	}, nil
}

func objectProperties(objects []string) []property.Property {
	var props []property.Property
	for _, object := range objects {
		props = append(props, property.MustBuildBundleObject([]byte(object)))
	}
	slices.SortFunc(props, compareProperties)
	return slices.CompactFunc(props, func(a, b property.Property) bool { return compareProperties(a, b) == 0 })
}

func compareProperties(a, b property.Property) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(string(a.Value), string(b.Value)))
}

// properties merges stored properties and dependencies. Of the dependencies
// only those on packages and APIs survive operator-registry's way.
func (r *bundleRows) properties(pkg, version string) ([]property.Property, error) {
	var props []property.Property
	var provided []property.GVK
	var required []property.GVKRequired
	hasPackage := false
	for _, p := range r.props {
		switch p.Type {
		case property.TypeGVK:
			var v property.GVK
			if err := json.Unmarshal([]byte(p.Value), &v); err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "the property %s has the malformed value %s: %v", p.Type, p.Value, err)
			}
			provided = append(provided, v)
			continue
		case property.TypePackage:
			hasPackage = true
		}
		built, err := property.Build(&property.Property{Type: p.Type, Value: json.RawMessage(p.Value)})
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the property %s has a malformed value: %v", p.Type, err)
		}
		props = append(props, *built)
	}
	for _, d := range r.deps {
		switch d.Type {
		case property.TypeGVK:
			var v property.GVKRequired
			if err := json.Unmarshal([]byte(d.Value), &v); err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "the dependency %s has the malformed value %s: %v", d.Type, d.Value, err)
			}
			required = append(required, v)
		case property.TypePackage:
			var v property.Package
			if err := json.Unmarshal([]byte(d.Value), &v); err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "the dependency %s has the malformed value %s: %v", d.Type, d.Value, err)
			}
			props = append(props, property.MustBuildPackageRequired(v.PackageName, v.Version))
		}
	}
	if !hasPackage {
		props = append(props, property.MustBuildPackage(pkg, version))
	}
	for _, v := range provided {
		props = append(props, property.MustBuildGVK(v.Group, v.Version, v.Kind))
	}
	for _, v := range required {
		props = append(props, property.MustBuildGVKRequired(v.Group, v.Version, v.Kind))
	}
	slices.SortFunc(props, compareProperties)
	return slices.CompactFunc(props, func(a, b property.Property) bool { return compareProperties(a, b) == 0 }), nil
}

// relatedImages lists the CSV's related images with their names, then every
// other image that the bundle uses without one, by pull spec.
func (r *bundleRows) relatedImages() ([]declcfg.RelatedImage, error) {
	var csv struct {
		Spec struct {
			RelatedImages []declcfg.RelatedImage `json:"relatedImages"`
		} `json:"spec"`
	}
	if r.csv != "" {
		if err := json.Unmarshal([]byte(r.csv), &csv); err != nil {
			return nil, err
		}
	}
	related := csv.Spec.RelatedImages
	named := map[string]bool{}
	for _, image := range related {
		named[image.Image] = true
	}
	for _, image := range r.images {
		if !named[image] {
			named[image] = true
			related = append(related, declcfg.RelatedImage{Image: image})
		}
	}
	slices.SortStableFunc(related, func(a, b declcfg.RelatedImage) int { return cmp.Compare(a.Image, b.Image) })
	return related, nil
}
