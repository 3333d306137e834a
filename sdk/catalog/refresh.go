package catalog

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// Refresh brings a file-based package up to what its database says of it.
// Documents that say the same keep the bytes of old, and so does what no
// database holds: documents of other schemas, deprecations of what is still
// there, and keys that are unknown or, like a package's description, only
// known to files. Neither argument is changed; migrated comes from
// Database.Package, and an empty one means that the package is gone.
func Refresh(old, migrated *Package) (*Package, error) {
	if old.Empty() || migrated.Empty() {
		if migrated == nil {
			return &Package{}, nil
		}
		return migrated, nil
	}
	out := &Package{Name: migrated.Name}
	bundles, channels := map[string]bool{}, map[string]bool{}
	for _, b := range migrated.Blobs {
		switch b.Schema {
		case schemaBundle:
			bundles[b.Name] = true
		case schemaChannel:
			channels[b.Name] = true
		}
	}
	for _, b := range old.Blobs {
		keys, ok := databaseKeys[b.Schema]
		if !ok {
			out.Blobs = append(out.Blobs, b)
			continue
		}
		i := migrated.find(b.Schema, b.Name)
		if i < 0 {
			continue
		}
		doc, err := patch(b.JSON, migrated.Blobs[i].JSON, keys)
		if err != nil {
			return nil, err
		}
		b.JSON = doc
		out.Blobs = append(out.Blobs, b)
	}
	for _, b := range migrated.Blobs {
		if out.find(b.Schema, b.Name) < 0 {
			out.insert(b)
		}
	}
	if err := out.pruneDeprecations(bundles, channels); err != nil {
		return nil, err
	}
	if err := out.validateEdited(); err != nil {
		return nil, err
	}
	return out, nil
}

// databaseKeys are the keys of each schema that a database has values for.
var databaseKeys = map[string][]string{
	schemaPackage: {"defaultChannel", "icon"},
	schemaChannel: {"entries"},
	schemaBundle:  {"image", "properties", "relatedImages"},
}

// patch sets keys of one document to their values in another, where they say
// something else.
func patch(doc, from json.RawMessage, keys []string) (json.RawMessage, error) {
	o, err := parseObject(doc)
	if err != nil {
		return nil, err
	}
	source, err := parseObject(from)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, key := range keys {
		was, now := o.values[key], source.values[key]
		same, err := sameJSON(was, now)
		if err != nil {
			return nil, err
		}
		if same {
			continue
		}
		changed = true
		var value any
		if now != nil {
			value = now
		}
		if err := o.set(key, value); err != nil {
			return nil, err
		}
	}
	if !changed {
		return doc, nil
	}
	return o.encode()
}

// sameJSON compares values, absent ones included. Numbers must be written
// alike.
func sameJSON(a, b json.RawMessage) (bool, error) {
	if a == nil || b == nil {
		return a == nil && b == nil, nil
	}
	if bytes.Equal(a, b) {
		return true, nil
	}
	var values [2]any
	for i, raw := range []json.RawMessage{a, b} {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&values[i]); err != nil {
			return false, err
		}
	}
	return reflect.DeepEqual(values[0], values[1]), nil
}
