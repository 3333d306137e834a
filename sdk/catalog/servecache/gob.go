package servecache

import "math/bits"

// The database keeps its numbers in gob streams. encoding/gob numbers types in
// the order in which a process meets them, so its bytes differ from process to
// process; a struct of numbers is simple enough to write by hand.

// gobField is a field of a struct: an unsigned number or a truth value.
type gobField struct {
	name  string
	value uint64
	isSet bool // the field is a bool; value is 0 or 1
}

func gobUint(name string, v uint64) gobField { return gobField{name: name, value: v} }

func gobBool(name string, v bool) gobField {
	f := gobField{name: name, isSet: true}
	if v {
		f.value = 1
	}
	return f
}

// Numbers of types, given by the format.
const (
	gobBoolType  = 1
	gobUintType  = 3
	gobFirstType = 65
)

// gobStream returns what encoding a struct gives. The format is described in
// the documentation of package encoding/gob.
func gobStream(name string, fields ...gobField) []byte {
	// First the type: a wireType whose third field, the struct's description,
	// is set. Fields are numbered by their distance from the one before, and a
	// zero ends a struct.
	var t []byte
	t = gobInt(t, -gobFirstType)
	t = append(t, 3, 1) // wireType.StructT, its CommonType
	t = append(t, 1)    // CommonType.Name
	t = gobString(t, name)
	t = append(t, 1) // CommonType.Id
	t = gobInt(t, gobFirstType)
	t = append(t, 0, 1) // end of CommonType, StructT.Field
	t = gobNumber(t, uint64(len(fields)))
	for _, f := range fields {
		kind := int64(gobUintType)
		if f.isSet {
			kind = gobBoolType
		}
		t = append(t, 1)
		t = gobString(t, f.name)
		t = append(t, 1)
		t = gobInt(t, kind)
		t = append(t, 0)
	}
	t = append(t, 0, 0)

	// Then the value. Fields that are zero are left out.
	var v []byte
	v = gobInt(v, gobFirstType)
	last := -1
	for i, f := range fields {
		if f.value != 0 {
			v = gobNumber(v, uint64(i-last))
			v = gobNumber(v, f.value)
			last = i
		}
	}
	v = append(v, 0)

	out := gobNumber(nil, uint64(len(t)))
	out = append(out, t...)
	out = gobNumber(out, uint64(len(v)))
	return append(out, v...)
}

// gobNumber appends an unsigned number: itself if it is small, else the number
// of its bytes, negated, and these.
func gobNumber(dst []byte, v uint64) []byte {
	if v < 128 {
		return append(dst, byte(v))
	}
	n := (bits.Len64(v) + 7) / 8
	dst = append(dst, byte(-n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// gobInt appends a signed number: shifted left, complemented if negative.
func gobInt(dst []byte, v int64) []byte {
	u := uint64(v) << 1
	if v < 0 {
		u = ^u
	}
	return gobNumber(dst, u)
}

func gobString(dst []byte, s string) []byte {
	return append(gobNumber(dst, uint64(len(s))), s...)
}
