package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// kind is an attribute type: how it travels and how a JSON value becomes one.
type kind struct {
	wire      pb.Type
	sensitive bool
	// want completes "must be ...".
	want string
	// set stores a JSON value other than null into v.
	set func(data json.RawMessage, v reflect.Value) error
	// plain returns what encoding/json encodes as the wire has it.
	plain func(v reflect.Value) any
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[sdk.Secret]()
)

func kindOf(t reflect.Type) (kind, bool) {
	switch t {
	case durationType:
		return durationKind, true
	case secretType:
		k := stringKind
		k.sensitive = true
		return k, true
	}
	switch t.Kind() {
	case reflect.String:
		return stringKind, true
	case reflect.Bool:
		return boolKind, true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intKind, true
	case reflect.Float32, reflect.Float64:
		return floatKind, true
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String && t.Elem() != secretType {
			return listKind, true
		}
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return kind{}, false
		}
		if t.Elem().Kind() == reflect.String && t.Elem() != secretType {
			return mapKind, true
		}
		if e := t.Elem(); e.Kind() == reflect.Map && e.Key().Kind() == reflect.String &&
			e.Elem().Kind() == reflect.String && e.Elem() != secretType {
			return nestedMapKind, true
		}
	}
	return kind{}, false
}

var stringKind = kind{
	wire: pb.Type_TYPE_STRING, want: "a string",
	set: func(data json.RawMessage, v reflect.Value) error {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		v.SetString(s)
		return nil
	},
	plain: func(v reflect.Value) any { return v.String() },
}

var boolKind = kind{
	wire: pb.Type_TYPE_BOOL, want: "true or false",
	set: func(data json.RawMessage, v reflect.Value) error {
		var b bool
		if err := json.Unmarshal(data, &b); err != nil {
			return err
		}
		v.SetBool(b)
		return nil
	},
	plain: func(v reflect.Value) any { return v.Bool() },
}

var intKind = kind{
	wire: pb.Type_TYPE_INT, want: "a whole number",
	set: func(data json.RawMessage, v reflect.Value) error {
		var n int64
		if err := json.Unmarshal(data, &n); err != nil {
			return err
		}
		if v.OverflowInt(n) {
			return fmt.Errorf("%d does not fit in %s", n, v.Type())
		}
		v.SetInt(n)
		return nil
	},
	plain: func(v reflect.Value) any { return v.Int() },
}

var floatKind = kind{
	wire: pb.Type_TYPE_FLOAT, want: "a number",
	set: func(data json.RawMessage, v reflect.Value) error {
		var n float64
		if err := json.Unmarshal(data, &n); err != nil {
			return err
		}
		v.SetFloat(n)
		return nil
	},
	plain: func(v reflect.Value) any {
		if n := v.Float(); !math.IsInf(n, 0) && !math.IsNaN(n) {
			return n
		}
		return 0
	},
}

var durationKind = kind{
	wire: pb.Type_TYPE_DURATION, want: `a duration such as "30s"`,
	set: func(data json.RawMessage, v reflect.Value) error {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
		return nil
	},
	plain: func(v reflect.Value) any { return time.Duration(v.Int()).String() },
}

var listKind = kind{
	wire: pb.Type_TYPE_STRINGS, want: "a list of strings",
	set:   setWhole,
	plain: whole,
}

var mapKind = kind{
	wire: pb.Type_TYPE_STRING_MAP, want: "a map of strings",
	set:   setWhole,
	plain: whole,
}

var nestedMapKind = kind{
	wire: pb.Type_TYPE_STRING_MAPS, want: "a map of maps of strings",
	set:   setWhole,
	plain: whole,
}

// whole returns a container; what is nil is empty, as in HCL.
func whole(v reflect.Value) any {
	if !v.IsNil() {
		return v.Interface()
	}
	if v.Kind() == reflect.Map {
		return struct{}{}
	}
	return []string{}
}

// setWhole replaces a container by the decoded one, without merging into it.
// An element that is null is no string.
func setWhole(data json.RawMessage, v reflect.Value) error {
	if hasNull(data) {
		return fmt.Errorf("an element is null")
	}
	fresh := reflect.New(v.Type())
	if err := json.Unmarshal(data, fresh.Interface()); err != nil {
		return err
	}
	v.Set(fresh.Elem())
	return nil
}

func hasNull(data json.RawMessage) bool {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return false // reported by the caller's own decoding
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if e == nil {
				return true
			}
		}
	case map[string]any:
		for _, e := range v {
			if inner, ok := e.(map[string]any); ok {
				for _, e := range inner {
					if e == nil {
						return true
					}
				}
			} else if e == nil {
				return true
			}
		}
	}
	return false
}
