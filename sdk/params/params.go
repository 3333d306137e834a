// Package params reads a submission's JSON object by the API contract's words:
// present, empty, truthy, dropped when empty (section 0 and 2 of the contract).
// Every fault names its parameter.
package params

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// Object is a JSON object whose values are not decoded yet.
type Object map[string]json.RawMessage

// Parse takes a body apart. Of a key that is there twice the last one counts.
func Parse(body json.RawMessage) (Object, error) {
	var o Object
	if err := json.Unmarshal(body, &o); err != nil || o == nil {
		return nil, sdk.Errorf(sdk.Invalid, "the body must be a JSON object")
	}
	for name, value := range o {
		o[name] = bytes.TrimSpace(value)
	}
	return o, nil
}

// Present reports whether the key is there, whatever its value.
func (o Object) Present(name string) bool {
	_, ok := o[name]
	return ok
}

// Null reports whether the key is absent or null.
func (o Object) Null(name string) bool {
	value, ok := o[name]
	return !ok || string(value) == "null"
}

// Empty reports whether the value is null, "", [], {} or zero, or absent.
func (o Object) Empty(name string) bool {
	value, ok := o[name]
	if !ok {
		return true
	}
	switch value[0] {
	case 'n':
		return true
	case '"':
		return string(value) == `""`
	case '[', '{':
		return len(bytes.TrimSpace(value[1:len(value)-1])) == 0
	case 't', 'f':
		return false
	}
	n, err := strconv.ParseFloat(string(value), 64)
	return err == nil && n == 0
}

// Truthy reports whether the value is neither empty nor false.
func (o Object) Truthy(name string) bool { return !o.Empty(name) && string(o[name]) != "false" }

// Check applies the rules C1 to C4: no required parameter missing, none
// unknown, no required one empty; then optional empty ones are dropped from o.
func (o Object) Check(required, optional []string) error {
	var missing []string
	for _, name := range required {
		if !o.Present(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return sdk.FieldErrorf(missing[0], "required %s missing: %s", parameters(missing), strings.Join(missing, ", "))
	}
	if err := o.Unknown(required, optional); err != nil {
		return err
	}
	for _, name := range required {
		if !o.Truthy(name) {
			return sdk.FieldErrorf(name, "%s must not be empty", name)
		}
	}
	o.Drop(optional)
	return nil
}

// Unknown names every parameter that is in neither list.
func (o Object) Unknown(lists ...[]string) error {
	var unknown []string
	for name := range o {
		if !slices.ContainsFunc(lists, func(list []string) bool { return slices.Contains(list, name) }) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	known := slices.Sorted(slices.Values(slices.Concat(lists...)))
	return sdk.FieldErrorf(unknown[0], "unknown %s: %s; this endpoint knows %s",
		parameters(unknown), strings.Join(unknown, ", "), strings.Join(known, ", "))
}

// Drop removes the empty ones of the named parameters.
func (o Object) Drop(names []string) {
	for _, name := range names {
		if o.Empty(name) {
			delete(o, name)
		}
	}
}

// Text returns a string; "" if the parameter is absent.
func (o Object) Text(name string) (string, error) {
	value, ok := o[name]
	if !ok {
		return "", nil
	}
	var s *string
	if json.Unmarshal(value, &s) != nil || s == nil {
		return "", sdk.FieldErrorf(name, "%s must be a string", name)
	}
	return *s, nil
}

// Bool returns a boolean; false if the parameter is absent.
func (o Object) Bool(name string) (bool, error) {
	value, ok := o[name]
	if !ok {
		return false, nil
	}
	var b *bool
	if json.Unmarshal(value, &b) != nil || b == nil {
		return false, sdk.FieldErrorf(name, "%s must be true or false", name)
	}
	return *b, nil
}

// Texts returns an array of non-empty strings; nil if the parameter is absent.
func (o Object) Texts(name string) ([]string, error) {
	value, ok := o[name]
	if !ok {
		return nil, nil
	}
	fault := sdk.FieldErrorf(name, "%s must be an array of non-empty strings", name)
	var list []*string
	if value[0] != '[' || json.Unmarshal(value, &list) != nil {
		return nil, fault
	}
	texts := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil || *s == "" {
			return nil, fault
		}
		texts = append(texts, *s)
	}
	return texts, nil
}

// UniqueTexts is Texts without repetitions; the first of each stays.
func (o Object) UniqueTexts(name string) ([]string, error) {
	texts, err := o.Texts(name)
	return Unique(texts), err
}

// TextMap returns an object of strings; nil if the parameter is absent.
func (o Object) TextMap(name string) (map[string]string, error) {
	value, ok := o[name]
	if !ok {
		return nil, nil
	}
	fault := sdk.FieldErrorf(name, "%s must be an object whose values are strings", name)
	var m map[string]*string
	if value[0] != '{' || json.Unmarshal(value, &m) != nil {
		return nil, fault
	}
	texts := make(map[string]string, len(m))
	for key, s := range m {
		if s == nil {
			return nil, fault
		}
		texts[key] = *s
	}
	return texts, nil
}

// PullSpec returns a pull spec; "" if the parameter is absent.
func (o Object) PullSpec(name string) (string, error) {
	spec, err := o.Text(name)
	if err != nil || !o.Present(name) {
		return "", err
	}
	return spec, sdk.CheckPullSpec(name, spec)
}

// CheckPullSpecs applies the rule for pull specs to every entry.
func CheckPullSpecs(name string, specs []string) error {
	for _, spec := range specs {
		if err := sdk.CheckPullSpec(name, spec); err != nil {
			return err
		}
	}
	return nil
}

// Unique returns the list without repetitions, in order; nil stays nil.
func Unique(list []string) []string {
	if list == nil {
		return nil
	}
	seen := make(map[string]bool, len(list))
	out := make([]string, 0, len(list))
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func parameters(names []string) string {
	if len(names) == 1 {
		return "parameter"
	}
	return "parameters"
}
