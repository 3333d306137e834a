package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/iib-engine/iib/sdk"
)

// Blob is one document of a file-based catalog.
type Blob struct {
	// Schema says what the document is, such as olm.bundle.
	Schema string
	// Package is the package that it belongs to; an olm.package belongs to
	// itself. Empty for a document that belongs to none.
	Package string
	// Name is empty for documents that have none, such as olm.deprecations.
	Name string
	// JSON is the document as it was read or is to be written. It must not be
	// changed in place.
	JSON json.RawMessage
}

// ParseBlob reads the three keys that place a document in a catalog.
func ParseBlob(doc json.RawMessage) (Blob, error) {
	var keys struct {
		Schema  string `json:"schema"`
		Package string `json:"package"`
		Name    string `json:"name"`
	}
	if err := json.Unmarshal(doc, &keys); err != nil {
		return Blob{}, sdk.Errorf(sdk.Invalid, "a document of the catalog is malformed: %v", err)
	}
	if keys.Schema == "" {
		return Blob{}, sdk.Errorf(sdk.Invalid, "a document of the catalog has no schema: %s", excerpt(doc))
	}
	if keys.Schema == schemaPackage && keys.Package == "" {
		keys.Package = keys.Name
	}
	return Blob{keys.Schema, keys.Package, keys.Name, doc}, nil
}

// maxBlobs bounds what is read of one package.
const maxBlobs = 128 << 20

// ReadBlobs reads a stream of JSON or YAML documents, at most 128 MiB. JSON
// documents keep their bytes; YAML ones become JSON.
func ReadBlobs(r io.Reader) ([]Blob, error) {
	var blobs []Blob
	limited := &io.LimitedReader{R: r, N: maxBlobs + 1}
	dec := yaml.NewYAMLOrJSONDecoder(limited, 4096)
	for {
		var doc json.RawMessage
		err := dec.Decode(&doc)
		if limited.N <= 0 {
			return nil, sdk.Errorf(sdk.Invalid, "the documents are larger than %d MiB together", maxBlobs>>20)
		}
		if errors.Is(err, io.EOF) {
			return blobs, nil
		}
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "document %d of the catalog is malformed: %v", len(blobs)+1, oneLine(err))
		}
		blob, err := ParseBlob(doc)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, blob)
	}
}

// WriteBlobs writes documents one after the other, each ending in a newline.
func WriteBlobs(w io.Writer, blobs []Blob) error {
	for _, b := range blobs {
		doc := b.JSON
		if !bytes.HasSuffix(doc, []byte("\n")) {
			doc = append(bytes.Clone(doc), '\n')
		}
		if _, err := w.Write(doc); err != nil {
			return err
		}
	}
	return nil
}

func newBlob(schema, pkg, name string, v any) (Blob, error) {
	doc, err := encode(v)
	if err != nil {
		return Blob{}, fmt.Errorf("encode %s %s: %w", schema, name, err)
	}
	return Blob{schema, pkg, name, doc}, nil
}

// encode formats JSON as `opm render` and `opm migrate` do.
func encode(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

func excerpt(doc []byte) string {
	const enough = 80
	if len(doc) > enough {
		return string(doc[:enough]) + "..."
	}
	return string(doc)
}

// object is a JSON object whose keys keep their order and whose values keep
// their bytes, so that one key can be changed and the rest survives: unknown
// fields, number formats and all.
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

func parseObject(doc json.RawMessage) (*object, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, sdk.Errorf(sdk.Invalid, "not a JSON object: %s", excerpt(doc))
	}
	o := &object{values: map[string]json.RawMessage{}}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := tok.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if _, twice := o.values[key]; !twice {
			o.keys = append(o.keys, key)
		}
		o.values[key] = value
	}
	return o, nil
}

// set replaces a value where the key stands, or adds it at the end. A nil
// value removes the key.
func (o *object) set(key string, value any) error {
	_, present := o.values[key]
	if value == nil {
		delete(o.values, key)
		for i, k := range o.keys {
			if k == key {
				o.keys = append(o.keys[:i:i], o.keys[i+1:]...)
				break
			}
		}
		return nil
	}
	raw, isRaw := value.(json.RawMessage)
	if !isRaw {
		var err error
		if raw, err = encode(value); err != nil {
			return err
		}
	}
	if !present {
		o.keys = append(o.keys, key)
	}
	o.values[key] = raw
	return nil
}

func (o *object) encode() (json.RawMessage, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			buf.WriteByte(',')
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		buf.Write(name)
		buf.WriteByte(':')
		buf.Write(o.values[key])
	}
	buf.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, buf.Bytes(), "", "    "); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
