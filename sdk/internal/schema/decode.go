package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// Decode stores the settings in data, a JSON object by name, into v, a pointer
// to a struct. What data lacks, or has as null, keeps its value in v. If
// anything is wrong, v is unchanged and the error joins an Invalid one for each
// mistake: its Field is the path of the setting, such as "query[1].url".
func Decode(data json.RawMessage, v any) error {
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return decodeStruct(nil, "", data, reflect.Value{})
	}
	fields, err := fieldsOf(p.Elem().Type())
	if err != nil {
		return sdk.Errorf(sdk.Internal, "settings of %s: %v", p.Elem().Type(), err)
	}
	fresh := reflect.New(p.Elem().Type())
	fresh.Elem().Set(p.Elem())
	if err := decodeStruct(fields, "", data, fresh.Elem()); err != nil {
		return err
	}
	p.Elem().Set(fresh.Elem())
	return nil
}

// Copy returns a pointer to a shallow copy of what prototype, a pointer to a
// struct, points to. Anything else is returned as it is.
func Copy(prototype any) any {
	p := reflect.ValueOf(prototype)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return prototype
	}
	fresh := reflect.New(p.Elem().Type())
	fresh.Elem().Set(p.Elem())
	return fresh.Interface()
}

func decodeStruct(fields []field, path string, data json.RawMessage, v reflect.Value) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return complain(path, "must be an object")
	}
	var problems []error
	for _, name := range sortedKeys(members) {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			problems = append(problems, complain(join(path, name), "there is no such setting"))
		}
	}
	for i := range fields {
		f := &fields[i]
		at := join(path, f.name)
		value, present := members[f.name]
		switch {
		case present && !isNull(value):
			problems = append(problems, f.decode(at, value, v.FieldByIndex(f.index)))
		case !f.optional:
			problems = append(problems, complain(at, "is required"))
		}
	}
	return errors.Join(problems...)
}

func (f *field) decode(path string, data json.RawMessage, v reflect.Value) error {
	switch {
	case f.role == label:
		return stringKind.decode(path, data, v)
	case f.role == attribute && f.pointer:
		fresh := reflect.New(v.Type().Elem())
		v.Set(fresh)
		return f.kind.decode(path, data, fresh.Elem())
	case f.role == attribute:
		return f.kind.decode(path, data, v)
	case f.repeated:
		return f.decodeBlocks(path, data, v)
	}
	return f.decodeBlock(path, data, v)
}

func (f *field) decodeBlocks(path string, data json.RawMessage, v reflect.Value) error {
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return complain(path, "must be a list of blocks")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	var problems []error
	for i, item := range items {
		problems = append(problems, f.decodeBlock(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i)))
	}
	return errors.Join(problems...)
}

func (f *field) decodeBlock(path string, data json.RawMessage, v reflect.Value) error {
	if f.pointer {
		v.Set(reflect.New(f.element))
		v = v.Elem()
	}
	return decodeStruct(f.nested, path, data, v)
}

func (k kind) decode(path string, data json.RawMessage, v reflect.Value) error {
	err := k.set(data, v)
	if err == nil {
		return nil
	}
	if k.sensitive {
		return complain(path, "must be "+k.want)
	}
	// encoding/json's own words are about Go types; the reader knows none.
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return complain(path, fmt.Sprintf("must be %s, not %s", k.want, brief(data)))
	}
	return complain(path, fmt.Sprintf("must be %s: %v", k.want, err))
}

// complain blames the setting at path; an empty path is the block itself.
func complain(path, what string) error {
	if path == "" {
		return sdk.Errorf(sdk.Invalid, "the settings: %s", what)
	}
	return sdk.FieldErrorf(path, "%s: %s", path, what)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func isNull(data json.RawMessage) bool { return string(data) == "null" }

// brief shortens a JSON value for a message.
func brief(data json.RawMessage) string {
	const most = 40
	if len(data) <= most {
		return string(data)
	}
	return string(data[:most]) + "…"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
