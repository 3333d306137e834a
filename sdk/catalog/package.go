package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/iib-engine/iib/sdk"
)

const (
	schemaPackage     = declcfg.SchemaPackage
	schemaChannel     = declcfg.SchemaChannel
	schemaBundle      = declcfg.SchemaBundle
	schemaDeprecation = declcfg.SchemaDeprecation
)

// Package is one operator's part of a file-based catalog. Functions that edit
// a package return a new one and leave theirs as it is; blobs are shared.
type Package struct {
	Name string
	// Blobs are the package's documents in the order of the catalog, those of
	// unknown schemas included.
	Blobs []Blob
}

// Empty reports whether nothing is left of the package.
func (p *Package) Empty() bool { return p == nil || len(p.Blobs) == 0 }

// Config decodes the package.
func (p *Package) Config() (*declcfg.DeclarativeConfig, error) {
	cfg := &declcfg.DeclarativeConfig{}
	for _, blob := range p.Blobs {
		if err := decodeBlob(cfg, blob); err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "package %s: %s %s is malformed: %v", p.Name, blob.Schema, blob.Name, err)
		}
	}
	return cfg, nil
}

func decodeBlob(cfg *declcfg.DeclarativeConfig, blob Blob) error {
	switch blob.Schema {
	case schemaPackage:
		return decodeInto(&cfg.Packages, blob)
	case schemaChannel:
		return decodeInto(&cfg.Channels, blob)
	case schemaDeprecation:
		return decodeInto(&cfg.Deprecations, blob)
	case schemaBundle:
		if err := decodeInto(&cfg.Bundles, blob); err != nil {
			return err
		}
		return unpackObjects(&cfg.Bundles[len(cfg.Bundles)-1])
	}
	cfg.Others = append(cfg.Others, declcfg.Meta{Schema: blob.Schema, Package: blob.Package, Name: blob.Name, Blob: blob.JSON})
	return nil
}

func decodeInto[T any](list *[]T, blob Blob) error {
	var v T
	if err := json.Unmarshal(blob.JSON, &v); err != nil {
		return err
	}
	*list = append(*list, v)
	return nil
}

// unpackObjects fills the fields that older catalogs keep in properties: a
// bundle without an image must have its objects there.
func unpackObjects(b *declcfg.Bundle) error {
	for _, p := range b.Properties {
		if p.Type != property.TypeBundleObject {
			continue
		}
		var object property.BundleObject
		if err := json.Unmarshal(p.Value, &object); err != nil {
			return fmt.Errorf("property %s: %w", p.Type, err)
		}
		doc, err := yaml.ToJSON(object.Data)
		if err != nil {
			return fmt.Errorf("property %s: %w", p.Type, err)
		}
		b.Objects = append(b.Objects, string(doc))
		var kind struct {
			Kind string `json:"kind"`
		}
		if b.CsvJSON == "" && json.Unmarshal(doc, &kind) == nil && kind.Kind == "ClusterServiceVersion" {
			b.CsvJSON = string(doc)
		}
	}
	return nil
}

// Validate checks that the package could be served: its names, its upgrade
// graph and its references are whole. The error is a sentence that names the
// package and what is wrong with it.
func (p *Package) Validate() error { return p.validate(false) }

// validateEdited is Validate for a package that was published before. Catalogs
// made by older versions of opm have skip ranges such as "<v1.14.0", which no
// version is in: they are no reason to refuse an edit. Those of new bundles
// were checked when the bundles were read.
func (p *Package) validateEdited() error { return p.validate(true) }

func (p *Package) validate(tolerant bool) error {
	cfg, err := p.Config()
	if err != nil {
		return err
	}
	if len(cfg.Packages) == 0 {
		return sdk.Errorf(sdk.Invalid, "package %s: there is no %s blob", p.Name, schemaPackage)
	}
	if tolerant {
		dropMalformedRanges(cfg)
	}
	if _, err := declcfg.ConvertToModel(*cfg); err != nil {
		return sdk.Errorf(sdk.Invalid, "package %s: %s", p.Name, flatten(err))
	}
	return nil
}

func dropMalformedRanges(cfg *declcfg.DeclarativeConfig) {
	for _, ch := range cfg.Channels {
		for i, e := range ch.Entries {
			if e.SkipRange == "" {
				continue
			}
			if _, err := semver.ParseRange(e.SkipRange); err != nil {
				ch.Entries[i].SkipRange = ""
			}
		}
	}
}

// flatten turns operator-registry's tree of validation errors into one line.
func flatten(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		line = strings.Trim(line, " \n├└─│")
		line = strings.TrimSuffix(line, ":")
		if line != "" && line != "invalid index" && !strings.HasPrefix(line, "invalid package") {
			parts = append(parts, line)
		}
	}
	if len(parts) == 0 {
		return oneLine(err)
	}
	return strings.Join(slices.Compact(parts), ": ")
}
