// Package schema turns a struct with hcl tags into the description of a
// configuration block, and the values of such a block into the struct.
//
// An attribute is a field with a tag `hcl:"name"` or `hcl:"name,optional"` and a
// type of the table in kind.go; a pointer to one is optional as well. A nested
// block is a struct, or a pointer to one, or a slice of either, with a tag
// `hcl:"name,block"`; its string fields tagged `hcl:"name,label"` are its labels,
// in order. An embedded struct without a tag lends its fields. A `doc` tag
// explains any of them. Fields without an hcl tag are not configuration.
package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/iib-engine/iib/sdk/internal/pb"
)

// Of returns the schema of prototype, a pointer to a struct. Attributes that
// prototype has a value for get it as their default. Anything that is no
// pointer to a struct has the empty schema. An error is the author's mistake.
func Of(prototype any) (*pb.Schema, error) {
	v := reflect.ValueOf(prototype)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return &pb.Schema{}, nil
	}
	fields, err := fieldsOf(v.Elem().Type())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Elem().Type(), err)
	}
	return describe(fields, v.Elem())
}

// Empty reports whether prototype has no settings at all.
func Empty(prototype any) (bool, error) {
	s, err := Of(prototype)
	return len(s.GetAttributes()) == 0 && len(s.GetBlocks()) == 0, err
}

func describe(fields []field, v reflect.Value) (*pb.Schema, error) {
	s := &pb.Schema{}
	for _, f := range fields {
		switch f.role {
		case attribute:
			a := &pb.Attribute{
				Name: f.name, Doc: f.doc, Type: f.kind.wire,
				Required: !f.optional, Sensitive: f.kind.sensitive,
			}
			if value := v.FieldByIndex(f.index); f.optional && !f.kind.sensitive && !value.IsZero() {
				a.Default = encodeValue(f, value)
			}
			s.Attributes = append(s.Attributes, a)
		case block:
			nested, err := describe(f.nested, reflect.Zero(f.element))
			if err != nil {
				return nil, err
			}
			b := &pb.Block{
				Name: f.name, Doc: f.doc, Schema: nested,
				Required: !f.optional, Repeated: f.repeated,
			}
			for _, n := range f.nested {
				if n.role == label {
					b.Labels = append(b.Labels, &pb.Label{Name: n.name, Doc: n.doc})
				}
			}
			s.Blocks = append(s.Blocks, b)
		}
	}
	return s, nil
}

type role int

const (
	attribute role = iota
	block
	label
)

// field is one tagged field of a struct, found by reflection.
type field struct {
	name, doc string
	index     []int
	role      role
	optional  bool
	pointer   bool
	kind      kind // of an attribute

	repeated bool         // of a block: a slice
	element  reflect.Type // of a block: its struct
	nested   []field      // of a block
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// maxDepth bounds the nesting of blocks: a struct that contains itself by way
// of a pointer would have no end.
const maxDepth = 8

func fieldsOf(t reflect.Type) ([]field, error) {
	return collect(t, nil, make(map[string]bool), maxDepth)
}

func collect(t reflect.Type, prefix []int, seen map[string]bool, depth int) ([]field, error) {
	if depth == 0 {
		return nil, fmt.Errorf("blocks are nested more than %d deep", maxDepth)
	}
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(append([]int(nil), prefix...), i)
		tag, tagged := sf.Tag.Lookup("hcl")
		if !tagged {
			if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
				lent, err := collect(sf.Type, index, seen, depth)
				if err != nil {
					return nil, err
				}
				fields = append(fields, lent...)
			}
			continue
		}
		if !sf.IsExported() {
			return nil, fmt.Errorf("field %s has an hcl tag but is not exported", sf.Name)
		}
		f, err := parse(sf, tag, index, depth)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", sf.Name, err)
		}
		if seen[f.name] {
			return nil, fmt.Errorf("field %s: the name %q is taken", sf.Name, f.name)
		}
		seen[f.name] = true
		fields = append(fields, f)
	}
	return fields, nil
}

func parse(sf reflect.StructField, tag string, index []int, depth int) (field, error) {
	name, option, _ := strings.Cut(tag, ",")
	f := field{name: name, doc: sf.Tag.Get("doc"), index: index}
	if !nameForm.MatchString(name) {
		return f, fmt.Errorf("%q is no name: use lower-case letters, digits and underscores", name)
	}
	t := sf.Type
	switch option {
	case "", "optional":
		f.optional = option == "optional"
		if t.Kind() == reflect.Pointer {
			f.pointer, f.optional, t = true, true, t.Elem()
		}
		k, ok := kindOf(t)
		if !ok {
			return f, fmt.Errorf("type %s cannot be an attribute", sf.Type)
		}
		f.kind = k
	case "label":
		f.role = label
		if t.Kind() != reflect.String {
			return f, fmt.Errorf("a label must be a string, not %s", t)
		}
		if depth == maxDepth {
			return f, fmt.Errorf("only nested blocks have labels")
		}
	case "block":
		f.role = block
		if t.Kind() == reflect.Slice {
			f.repeated, f.optional, t = true, true, t.Elem()
		}
		if t.Kind() == reflect.Pointer {
			f.pointer, f.optional, t = true, true, t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return f, fmt.Errorf("a block must be a struct, not %s", sf.Type)
		}
		f.element = t
		nested, err := collect(t, nil, make(map[string]bool), depth-1)
		if err != nil {
			return f, err
		}
		f.nested = nested
	default:
		return f, fmt.Errorf("unknown option %q: use optional, block or label", option)
	}
	return f, nil
}

// Encode returns the settings in v, a pointer to a struct, as Decode takes
// them. Secrets are in clear: the result is for the wire only.
func Encode(v any) (json.RawMessage, error) {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return json.RawMessage("{}"), nil
	}
	fields, err := fieldsOf(p.Elem().Type())
	if err != nil {
		return nil, err
	}
	return encodeStruct(fields, p.Elem()), nil
}

func encodeStruct(fields []field, v reflect.Value) json.RawMessage {
	members := make(map[string]json.RawMessage)
	for _, f := range fields {
		value := v.FieldByIndex(f.index)
		if f.optional && value.IsZero() {
			continue
		}
		members[f.name] = encodeValue(f, value)
	}
	return mustMarshal(members)
}

func encodeValue(f field, v reflect.Value) json.RawMessage {
	if f.role != block {
		return f.encodeScalar(v)
	}
	if !f.repeated {
		return encodeStruct(f.nested, reflect.Indirect(v))
	}
	items := make([]json.RawMessage, v.Len())
	for i := range items {
		items[i] = encodeStruct(f.nested, reflect.Indirect(v.Index(i)))
	}
	return mustMarshal(items)
}

func (f *field) encodeScalar(v reflect.Value) json.RawMessage {
	v = reflect.Indirect(v)
	if f.role == label {
		return mustMarshal(v.String())
	}
	return mustMarshal(f.kind.plain(v))
}

// mustMarshal encodes strings, numbers and containers of them, which cannot
// fail but for infinities.
func mustMarshal(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schema: encode %T: %v", v, err))
	}
	return data
}
