package host

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// Description is what a plugin says that it offers.
type Description struct {
	// Name is the plugin's own; the configuration may call it otherwise.
	Name    string
	Version string
	Doc     string
	// Schema is that of the plugin's config block.
	Schema Schema
	// Handlers are sorted by type.
	Handlers []HandlerDescription
	// Customizers are sorted by name.
	Customizers []CustomizerDescription
	Gate        bool
	Notifier    bool
	Builder     bool
	Service     bool
}

// HandlerDescription is a request type that a plugin handles.
type HandlerDescription struct {
	Type string
	// Accepts tells that the handler judges submissions.
	Accepts bool
	// Previews tells that the handler can tell what a request would change.
	Previews bool
	Doc      sdk.HandlerDoc
}

// CustomizerDescription is a customizer that a plugin has.
type CustomizerDescription struct {
	// Name is the label of customize blocks.
	Name string
	// Schema is that of such a block.
	Schema Schema
}

// Schema is the shape of a configuration block, in the order of the plugin's
// source.
type Schema struct {
	Attributes []Attribute
	Blocks     []Block
}

// Attribute is a setting.
type Attribute struct {
	Name     string
	Doc      string
	Type     Type
	Required bool
	// Sensitive values must not be shown.
	Sensitive bool
	// Default is the JSON value that an absent attribute has. Nil if that is
	// the type's zero value, or a secret.
	Default json.RawMessage
}

// Type is an attribute's type. The comments give its form in the JSON of
// Configure.
type Type string

const (
	String     Type = "string"
	Bool       Type = "bool"
	Int        Type = "int"         // a number without fraction, in 64 bits
	Float      Type = "float"       // a number
	Duration   Type = "duration"    // a string such as "1h30m" or "250ms"
	Strings    Type = "strings"     // an array of strings
	StringMap  Type = "string_map"  // an object of strings
	StringMaps Type = "string_maps" // an object of objects of strings
)

// Block is a nested block.
type Block struct {
	Name string
	Doc  string
	// Labels come before the block's body. In JSON they are members of the
	// block's object.
	Labels []Label
	// Required tells that there must be one.
	Required bool
	// Repeated tells that there may be more than one. In JSON the block is then
	// an array of objects, and else one object.
	Repeated bool
	Schema   Schema
}

// Label is a block's label.
type Label struct {
	Name string
	Doc  string
}

// offers is a checked description with what only this package needs of it.
type offers struct {
	Description
	callsEngine bool
	handlers    map[string]*pb.HandlerDescription
}

func newOffers(d *pb.DescribeResponse) (offers, error) {
	o := offers{
		Description: Description{
			Name: d.Name, Version: d.Version, Doc: d.Doc,
			Gate: d.Gate, Notifier: d.Notifier, Builder: d.Builder, Service: d.Service,
		},
		callsEngine: d.CallsEngine,
		handlers:    make(map[string]*pb.HandlerDescription),
	}
	schema, err := newSchema(d.Schema, maxNesting)
	if err != nil {
		return o, sdk.Errorf(sdk.Invalid, "its schema: %v", err)
	}
	o.Schema = schema
	for _, h := range d.Handlers {
		o.handlers[h.Type] = h
		o.Handlers = append(o.Handlers, HandlerDescription{
			Type: h.Type, Accepts: h.Accepts, Previews: h.Previews, Doc: wire.HandlerDoc(h),
		})
	}
	for _, c := range d.Customizers {
		schema, err := newSchema(c.Schema, maxNesting)
		if err != nil {
			return o, sdk.Errorf(sdk.Invalid, "its schema of customizer %s: %v", c.Name, err)
		}
		o.Customizers = append(o.Customizers, CustomizerDescription{Name: c.Name, Schema: schema})
	}
	return o, nil
}

var typeTable = map[pb.Type]Type{
	pb.Type_TYPE_STRING:      String,
	pb.Type_TYPE_BOOL:        Bool,
	pb.Type_TYPE_INT:         Int,
	pb.Type_TYPE_FLOAT:       Float,
	pb.Type_TYPE_DURATION:    Duration,
	pb.Type_TYPE_STRINGS:     Strings,
	pb.Type_TYPE_STRING_MAP:  StringMap,
	pb.Type_TYPE_STRING_MAPS: StringMaps,
}

// maxNesting bounds blocks within blocks.
const maxNesting = 8

var settingForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func newSchema(s *pb.Schema, depth int) (Schema, error) {
	var schema Schema
	if depth == 0 {
		return schema, fmt.Errorf("blocks are nested more than %d deep", maxNesting)
	}
	seen := make(map[string]bool)
	check := func(name string) error {
		if !settingForm.MatchString(name) || len(name) > 100 {
			return fmt.Errorf("%.100q is no name of a setting", name)
		}
		if seen[name] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		return nil
	}
	for _, a := range s.GetAttributes() {
		t, known := typeTable[a.Type]
		if err := check(a.Name); err != nil {
			return schema, err
		}
		if !known {
			return schema, fmt.Errorf("%s: its type %d is not known to this engine", a.Name, a.Type)
		}
		attribute := Attribute{Name: a.Name, Doc: a.Doc, Type: t, Required: a.Required, Sensitive: a.Sensitive}
		if len(a.Default) > 0 && !a.Sensitive {
			if !json.Valid(a.Default) {
				return schema, fmt.Errorf("%s: its default is not JSON", a.Name)
			}
			attribute.Default = a.Default
		}
		schema.Attributes = append(schema.Attributes, attribute)
	}
	for _, b := range s.GetBlocks() {
		if err := check(b.Name); err != nil {
			return schema, err
		}
		nested, err := newSchema(b.Schema, depth-1)
		if err != nil {
			return schema, fmt.Errorf("%s: %w", b.Name, err)
		}
		block := Block{Name: b.Name, Doc: b.Doc, Required: b.Required, Repeated: b.Repeated, Schema: nested}
		for _, l := range b.Labels {
			if !settingForm.MatchString(l.Name) {
				return schema, fmt.Errorf("%s: %.100q is no name of a label", b.Name, l.Name)
			}
			block.Labels = append(block.Labels, Label{Name: l.Name, Doc: l.Doc})
		}
		schema.Blocks = append(schema.Blocks, block)
	}
	return schema, nil
}
