package core

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// WriteBack judges the fields that a worker reports for a request of a type,
// by the contract's sections 5.2 and 5.3, and returns the change that they
// amount to. Every unknown key is named; a value of the wrong shape is blamed
// on its key.
func WriteBack(handler *HandlerType, fields map[string]json.RawMessage) (*Change, error) {
	var unknown []string
	change := &Change{Fields: make(map[string]json.RawMessage)}
	for name := range fields {
		if name == "arches" {
			continue
		}
		if doc, ok := handler.Field(name); !ok || doc.Shape == sdk.ShapeNone {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return nil, sdk.FieldErrorf(unknown[0], "a %s request has no field %s that can be changed",
			handler.Type, strings.Join(unknown, ", "))
	}
	for name, value := range fields {
		if name == "arches" {
			arches, err := texts(name, value)
			if err != nil {
				return nil, err
			}
			change.Arches = arches
			continue
		}
		doc, _ := handler.Field(name)
		stored, images, err := shape(doc, value)
		if err != nil {
			return nil, err
		}
		if stored != nil {
			change.Fields[name] = stored
		}
		if doc.Image {
			change.Images = append(change.Images, images...)
		}
	}
	return change, nil
}

// shape checks a value and returns what to store (nil for nothing) and the
// pull specs in it.
func shape(doc sdk.FieldDoc, value json.RawMessage) (json.RawMessage, []string, error) {
	switch doc.Shape {
	case sdk.ShapeText, sdk.ShapeImage:
		text, err := text(doc.Name, value)
		if err != nil {
			return nil, nil, err
		}
		if doc.Shape == sdk.ShapeImage {
			if err := sdk.CheckPullSpec(doc.Name, text); err != nil {
				return nil, nil, err
			}
		}
		return value, []string{text}, nil
	case sdk.ShapeImages:
		specs, err := pullSpecs(doc.Name, value)
		return value, specs, err
	case sdk.ShapeMapping:
		var m map[string]json.RawMessage
		if !object(value) || json.Unmarshal(value, &m) != nil {
			return nil, nil, sdk.FieldErrorf(doc.Name, "%s must be an object whose values are arrays of pull specifications", doc.Name)
		}
		for _, list := range m {
			if _, err := pullSpecs(doc.Name, list); err != nil {
				return nil, nil, err
			}
		}
		return value, nil, nil
	case sdk.ShapeTextMap:
		var m map[string]*string
		if !object(value) || json.Unmarshal(value, &m) != nil || hasNull(m) {
			return nil, nil, sdk.FieldErrorf(doc.Name, "%s must be an object whose values are strings", doc.Name)
		}
		return value, nil, nil
	case sdk.ShapeJSONText:
		text, err := text(doc.Name, value)
		if err != nil {
			return nil, nil, err
		}
		if !object([]byte(text)) || !json.Valid([]byte(text)) {
			return nil, nil, sdk.FieldErrorf(doc.Name, "%s must be a string that holds a JSON object", doc.Name)
		}
		return json.RawMessage(text), nil, nil
	case sdk.ShapeNumber:
		var n *json.Number
		if json.Unmarshal(value, &n) != nil || n == nil || bytes.HasPrefix(bytes.TrimSpace(value), []byte(`"`)) {
			return nil, nil, sdk.FieldErrorf(doc.Name, "%s must be a number", doc.Name)
		}
		return value, nil, nil
	case sdk.ShapeIgnored:
		return nil, nil, ignored(doc.Name, value)
	}
	return nil, nil, sdk.FieldErrorf(doc.Name, "%s cannot be changed", doc.Name)
}

// ignored accepts the shapes that old workers send for keys without effect.
func ignored(name string, value json.RawMessage) error {
	var list []string
	var m map[string]string
	var s string
	isNull := bytes.Equal(bytes.TrimSpace(value), []byte("null"))
	if !isNull && (json.Unmarshal(value, &list) == nil || json.Unmarshal(value, &m) == nil ||
		json.Unmarshal(value, &s) == nil && s != "") {
		return nil
	}
	return sdk.FieldErrorf(name, "%s must be a non-empty string, an array of strings or an object of strings", name)
}

func object(value []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) }

func text(name string, value json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(value, &s) != nil || s == "" {
		return "", sdk.FieldErrorf(name, "%s must be a non-empty string", name)
	}
	return s, nil
}

func pullSpecs(name string, value json.RawMessage) ([]string, error) {
	specs, err := texts(name, value)
	if err != nil {
		return nil, err
	}
	for _, spec := range specs {
		if err := sdk.CheckPullSpec(name, spec); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

func hasNull(m map[string]*string) bool {
	for _, s := range m {
		if s == nil {
			return true
		}
	}
	return false
}

func texts(name string, value json.RawMessage) ([]string, error) {
	var list []*string
	if !bytes.HasPrefix(bytes.TrimSpace(value), []byte("[")) || json.Unmarshal(value, &list) != nil {
		return nil, sdk.FieldErrorf(name, "%s must be an array of non-empty strings", name)
	}
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil || *s == "" {
			return nil, sdk.FieldErrorf(name, "%s must be an array of non-empty strings", name)
		}
		out = append(out, *s)
	}
	return out, nil
}
