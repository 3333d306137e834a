package servecache

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// normalize appends to dst what opm makes of a meta's JSON text: decoded into
// maps and encoded again. Keys are sorted, the last of equal keys counts,
// numbers are float64, strings are escaped in one way, space is gone, and a
// line feed ends it. The digest of a pogreb cache runs over this text.
//
// Decoding into maps takes twenty times as long and half of a cold build; so
// this works on the text. raw must be valid JSON, as package tree guarantees.
func normalize(dst, raw []byte) ([]byte, error) {
	n := normalizer{in: raw, out: dst}
	if err := n.value(); err != nil {
		return nil, err
	}
	return append(n.out, '\n'), nil
}

type normalizer struct {
	in  []byte
	pos int
	out []byte
	// members is a stack: each object in progress has the rest of it.
	members []member
	spare   []byte
}

// member is a member of an object: its decoded key, and where its encoding
// lies in out.
type member struct {
	key        []byte
	start, end int
}

var errMalformed = errors.New("malformed JSON text")

func (n *normalizer) next() byte {
	for n.pos < len(n.in) {
		switch c := n.in[n.pos]; c {
		case ' ', '\n', '\t', '\r':
			n.pos++
		default:
			return c
		}
	}
	return 0
}

func (n *normalizer) value() error {
	switch c := n.next(); {
	case c == '{':
		return n.object()
	case c == '[':
		return n.array()
	case c == '"':
		return n.str()
	case c == '-' || '0' <= c && c <= '9':
		return n.number()
	case c == 't':
		return n.literal("true")
	case c == 'f':
		return n.literal("false")
	case c == 'n':
		return n.literal("null")
	}
	return errMalformed
}

func (n *normalizer) literal(text string) error {
	n.pos += len(text)
	n.out = append(n.out, text...)
	return nil
}

func (n *normalizer) array() error {
	n.pos++
	n.out = append(n.out, '[')
	if n.next() == ']' {
		n.pos++
		n.out = append(n.out, ']')
		return nil
	}
	for {
		if err := n.value(); err != nil {
			return err
		}
		switch n.next() {
		case ',':
			n.pos++
			n.out = append(n.out, ',')
		case ']':
			n.pos++
			n.out = append(n.out, ']')
			return nil
		default:
			return errMalformed
		}
	}
}

func (n *normalizer) object() error {
	n.pos++
	n.out = append(n.out, '{')
	body, first := len(n.out), len(n.members)
	defer func() { n.members = n.members[:first] }()
	sorted := true
	for n.next() != '}' {
		if len(n.members) > first {
			if n.next() != ',' {
				return errMalformed
			}
			n.pos++
			n.next()
			n.out = append(n.out, ',')
		}
		start, from := len(n.out), n.pos
		if n.next() != '"' {
			return errMalformed
		}
		if err := n.str(); err != nil {
			return err
		}
		key, err := decoded(n.in[from:n.pos])
		if err != nil {
			return err
		}
		if n.next() != ':' {
			return errMalformed
		}
		n.pos++
		n.out = append(n.out, ':')
		if err := n.value(); err != nil {
			return err
		}
		if k := len(n.members); k > first && bytes.Compare(n.members[k-1].key, key) >= 0 {
			sorted = false
		}
		n.members = append(n.members, member{key, start, len(n.out)})
	}
	n.pos++
	if !sorted {
		n.sort(body, n.members[first:])
	}
	n.out = append(n.out, '}')
	return nil
}

// sort rewrites the members of an object, which lie in out from body on.
func (n *normalizer) sort(body int, members []member) {
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(bytes.Compare(a.key, b.key), a.start-b.start)
	})
	n.spare = append(n.spare[:0], n.out[body:]...)
	n.out = n.out[:body]
	for i, m := range members {
		if i+1 < len(members) && bytes.Equal(m.key, members[i+1].key) {
			continue
		}
		if len(n.out) > body {
			n.out = append(n.out, ',')
		}
		n.out = append(n.out, n.spare[m.start-body:m.end-body]...)
	}
}

// number appends a number as encoding/json writes the float64 of it.
func (n *normalizer) number() error {
	start := n.pos
	integer := true
	for n.pos < len(n.in) {
		c := n.in[n.pos]
		if c == '.' || c == 'e' || c == 'E' || c == '+' {
			integer = false
		} else if c != '-' && (c < '0' || c > '9') {
			break
		}
		n.pos++
	}
	text := n.in[start:n.pos]
	// Up to 15 digits a float64 is exact.
	if integer && len(text) <= 15 {
		n.out = append(n.out, text...)
		return nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("number %s: out of range", text)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	n.out = strconv.AppendFloat(n.out, f, format, -1, 64)
	if format == 'e' {
		// e-09 is written e-9.
		if k := len(n.out); k >= 4 && n.out[k-4] == 'e' && n.out[k-3] == '-' && n.out[k-2] == '0' {
			n.out[k-2] = n.out[k-1]
			n.out = n.out[:k-1]
		}
	}
	return nil
}

// str appends a string as encoding/json writes it without HTML escapes.
func (n *normalizer) str() error {
	n.out = append(n.out, '"')
	in := n.in
	i := n.pos + 1
	for {
		// Most of a string is copied as it is.
		start := i
		for i < len(in) && plain[in[i]] {
			i++
		}
		n.out = append(n.out, in[start:i]...)
		if i >= len(in) {
			return errMalformed
		}
		switch c := in[i]; {
		case c == '"':
			n.pos = i + 1
			n.out = append(n.out, '"')
			return nil
		case c == '\\':
			r, size, ok := escape(in[i:])
			if !ok {
				return errMalformed
			}
			n.out = appendRune(n.out, r)
			i += size
		case c < ' ':
			return errMalformed
		default:
			r, size := utf8.DecodeRune(in[i:])
			n.out = appendRune(n.out, r)
			i += size
		}
	}
}

// plain are the bytes that stand for themselves.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// escape decodes the escape that text begins with. A surrogate without its
// other half is the replacement character.
func escape(text []byte) (r rune, size int, ok bool) {
	if len(text) < 2 {
		return 0, 0, false
	}
	switch text[1] {
	case '"', '\\', '/':
		return rune(text[1]), 2, true
	case 'b':
		return '\b', 2, true
	case 'f':
		return '\f', 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	case 'u':
		if r, ok = hex4(text); !ok {
			return 0, 0, false
		}
		if !utf16.IsSurrogate(r) {
			return r, 6, true
		}
		if low, ok := hex4(text[6:]); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return both, 12, true
			}
		}
		return utf8.RuneError, 6, true
	}
	return 0, 0, false
}

// hex4 decodes \uXXXX.
func hex4(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range text[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func appendRune(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\u2028', '\u2029':
		// JavaScript takes them for line ends.
		return append(dst, '\\', 'u', '2', '0', '2', '0'+byte(r&0xf))
	}
	if r < ' ' {
		return fmt.Appendf(dst, `\u%04x`, r)
	}
	return utf8.AppendRune(dst, r)
}

// decoded returns the text of a string with its quotes, decoded.
func decoded(quoted []byte) ([]byte, error) {
	text := quoted[1 : len(quoted)-1]
	simple := true
	for _, c := range text {
		simple = simple && plain[c]
	}
	if simple {
		return text, nil
	}
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := rune(0), 0
		if text[0] == '\\' {
			var ok bool
			if r, size, ok = escape(text); !ok {
				return nil, errMalformed
			}
		} else {
			r, size = utf8.DecodeRune(text)
		}
		out = utf8.AppendRune(out, r)
		text = text[size:]
	}
	return out, nil
}
