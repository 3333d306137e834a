package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk"
)

// maxDeprecations bounds the document of a request.
const maxDeprecations = 1 << 20

// ParseDeprecations reads a document of the schema olm.deprecations for the
// given package, as a requester sends it: exactly one JSON document. Whether
// what it refers to exists is for SetDeprecations to find out.
func ParseDeprecations(pkg string, doc []byte) (Blob, error) {
	if len(doc) > maxDeprecations {
		return Blob{}, sdk.Errorf(sdk.Invalid, "the deprecation schema is larger than %d KiB", maxDeprecations>>10)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return Blob{}, sdk.Errorf(sdk.Invalid, "the deprecation schema is not valid JSON: %v", err)
	}
	if err := dec.Decode(&json.RawMessage{}); !errors.Is(err, io.EOF) {
		return Blob{}, sdk.Errorf(sdk.Invalid, "the deprecation schema is more than one JSON document")
	}
	var d declcfg.Deprecation
	if err := json.Unmarshal(raw, &d); err != nil {
		return Blob{}, sdk.Errorf(sdk.Invalid, "the deprecation schema does not have the right form: %v", err)
	}
	if d.Schema != schemaDeprecation {
		return Blob{}, sdk.Errorf(sdk.Invalid, "the deprecation schema has the schema %q; it must be %s", d.Schema, schemaDeprecation)
	}
	if d.Package != pkg {
		return Blob{}, sdk.Errorf(sdk.Invalid, "the deprecation schema is for package %q, the request for package %q", d.Package, pkg)
	}
	for i, e := range d.Entries {
		if e.Message == "" {
			return Blob{}, sdk.Errorf(sdk.Invalid, "entry %d of the deprecation schema has no message", i+1)
		}
	}
	return Blob{Schema: schemaDeprecation, Package: pkg, JSON: raw}, nil
}

// SetDeprecations replaces what a package says about deprecated bundles and
// channels. Everything that the document refers to must be in the package.
func SetDeprecations(p *Package, deprecations Blob) (*Package, error) {
	if p.Empty() {
		return nil, errNotListed(deprecations.Package)
	}
	out := &Package{Name: p.Name, Blobs: slices.Clone(p.Blobs)}
	out.drop(func(b Blob) bool { return b.Schema == schemaDeprecation })
	out.insert(deprecations)
	if err := out.validateEdited(); err != nil {
		return nil, err
	}
	return out, nil
}
