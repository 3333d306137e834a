package tree

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
)

// json finds the metas of a stream of JSON objects.
func (s *scanner) json(in *input) error {
	for {
		data := in.window()
		if space := skipSpace(data, 0); space > 0 {
			in.pass(space)
			data = data[space:]
		}
		if len(data) == 0 {
			if in.eof {
				return nil
			}
			if err := in.fill(1); err != nil {
				return err
			}
			continue
		}
		if data[0] != '{' {
			return &fault{in.base, "want a JSON object"}
		}
		p := parser{data: data, depth: s.limits.Depth}
		keys, err := p.topLevel()
		switch {
		case errors.Is(err, errShort) && !in.eof && int64(len(data)) <= s.limits.MetaSize:
			// The meta goes on behind the window. Reading twice as much each
			// time keeps the repetition linear.
			if err := in.fill(2 * len(data)); err != nil {
				return err
			}
			continue
		case errors.Is(err, errShort) && !in.eof, err == nil && int64(p.pos) > s.limits.MetaSize:
			return &fault{in.base, fmt.Sprintf("this meta is larger than %d bytes", s.limits.MetaSize)}
		case err != nil:
			return &fault{in.base + int64(p.pos), err.Error()}
		}
		raw := data[:p.pos]
		i := item{Schema: keys.schema, Package: keys.pkg, Name: keys.name, Start: in.base, Off: in.base, Len: int64(len(raw))}
		if keys.unusual {
			// Rare keys are left to the reference, for the same answer.
			m, err := identify(raw)
			if err != nil {
				return &fault{in.base, err.Error()}
			}
			i.Schema, i.Package, i.Name = m.Schema, m.Package, m.Name
		}
		if err := s.add(i, raw); err != nil {
			return err
		}
		in.pass(len(raw))
	}
}

// identify has the reference say what a meta is.
func identify(text []byte) (m declcfg.Meta, err error) {
	if !bytes.HasPrefix(text, []byte("{")) {
		return m, errors.New("want an object")
	}
	// Its message for some mistakes indexes out of range.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("opm cannot read this meta: %v", r)
		}
	}()
	err = json.Unmarshal(text, &m)
	return m, err
}

// topKeys are the values of a meta's top level that say what it is.
type topKeys struct {
	schema, pkg, name string
	// unusual is set for what the fast path does not judge: keys that need
	// folding or unquoting, that appear twice, or whose value is no string.
	unusual bool
}

var errShort = errors.New("unexpected end of the JSON text")

// parser checks JSON text without decoding it. After an error, pos is where.
type parser struct {
	data  []byte
	pos   int
	depth int
}

// maxTopKeys is how many keys of a meta are compared with each other.
const maxTopKeys = 32

// topLevel checks the object at pos and returns what its keys say.
func (p *parser) topLevel() (topKeys, error) {
	var (
		k    topKeys
		seen [maxTopKeys]string
		n    int
	)
	err := p.object(func(text []byte, plain bool) error {
		if !plain || n == len(seen) {
			k.unusual = true
			return p.value()
		}
		key := string(text)
		for _, s := range seen[:n] {
			if len(s) == len(key) && strings.EqualFold(s, key) {
				k.unusual = true
			}
		}
		seen[n] = key
		n++
		var to *string
		switch {
		case strings.EqualFold(key, "schema"):
			to = &k.schema
		case strings.EqualFold(key, "package"):
			to = &k.pkg
		case strings.EqualFold(key, "name"):
			to = &k.name
		default:
			return p.value()
		}
		if p.pos < len(p.data) && p.data[p.pos] != '"' {
			k.unusual = true
			return p.value()
		}
		text, plain, err := p.str()
		*to = string(text)
		k.unusual = k.unusual || !plain
		return err
	})
	return k, err
}

// value checks any value, which begins at pos.
func (p *parser) value() error {
	if p.pos == len(p.data) {
		return errShort
	}
	switch c := p.data[p.pos]; {
	case c == '"':
		_, _, err := p.str()
		return err
	case c == '{':
		return p.object(nil)
	case c == '[':
		return p.array()
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	case c == 't':
		return p.literal("true")
	case c == 'f':
		return p.literal("false")
	case c == 'n':
		return p.literal("null")
	}
	return errors.New("want a JSON value")
}

func (p *parser) down() error {
	if p.depth--; p.depth < 0 {
		return errors.New("objects and arrays are nested too deeply")
	}
	p.pos++
	return nil
}

// object checks an object. member, unless nil, is called for each member with
// pos at its value, which it passes, and with the text of the key, which is
// plain if it is ASCII without escapes.
func (p *parser) object(member func(key []byte, plain bool) error) error {
	if err := p.down(); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := p.next()
		if err != nil {
			return err
		}
		if c == '}' && first {
			break
		}
		if c != '"' {
			return errors.New("want a string for a key")
		}
		text, plain, err := p.str()
		if err != nil {
			return err
		}
		if c, err = p.next(); err != nil {
			return err
		}
		if c != ':' {
			return errors.New("want a colon after a key")
		}
		p.pos++
		if _, err = p.next(); err != nil {
			return err
		}
		if member == nil {
			err = p.value()
		} else {
			err = member(text, plain)
		}
		if err != nil {
			return err
		}
		if c, err = p.next(); err != nil {
			return err
		}
		if c == '}' {
			break
		}
		if c != ',' {
			return errors.New("want a comma or a closing brace")
		}
		p.pos++
	}
	p.pos++
	p.depth++
	return nil
}

func (p *parser) array() error {
	if err := p.down(); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := p.next()
		if err != nil {
			return err
		}
		if c == ']' && first {
			break
		}
		if err := p.value(); err != nil {
			return err
		}
		if c, err = p.next(); err != nil {
			return err
		}
		if c == ']' {
			break
		}
		if c != ',' {
			return errors.New("want a comma or a closing bracket")
		}
		p.pos++
	}
	p.pos++
	p.depth++
	return nil
}

// next skips white space and returns the byte at pos.
func (p *parser) next() (byte, error) {
	p.pos = skipSpace(p.data, p.pos)
	if p.pos == len(p.data) {
		return 0, errShort
	}
	return p.data[p.pos], nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// str checks the string at pos and returns what is between its quotes, and
// whether that is ASCII without escapes.
func (p *parser) str() (text []byte, plain bool, err error) {
	p.pos++
	start := p.pos
	plain = true
	for {
		i, ascii := special(p.data, p.pos)
		p.pos = i
		plain = plain && ascii
		if i == len(p.data) {
			return nil, false, errShort
		}
		switch c := p.data[i]; c {
		case '"':
			p.pos++
			return p.data[start:i], plain, nil
		case '\\':
			plain = false
			if err := p.escape(); err != nil {
				return nil, false, err
			}
		default:
			return nil, false, fmt.Errorf("control character %#x in a string", c)
		}
	}
}

func (p *parser) escape() error {
	if p.pos+1 >= len(p.data) {
		p.pos = len(p.data)
		return errShort
	}
	switch p.data[p.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.pos += 2
		return nil
	case 'u':
		for k := 2; k < 6; k++ {
			if p.pos+k >= len(p.data) {
				p.pos = len(p.data)
				return errShort
			}
			switch c := p.data[p.pos+k]; {
			case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			default:
				return errors.New(`\u wants four hex digits`)
			}
		}
		p.pos += 6
		return nil
	}
	return errors.New("unknown escape in a string")
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns the index of the first quote, backslash or control
// character at or after i, and whether all before it is ASCII. It looks at
// eight bytes at a time, because strings are what catalogs consist of.
func special(data []byte, i int) (int, bool) {
	var seen uint64
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		quote, slash := w^(lows*'"'), w^(lows*'\\')
		// In each term the lowest set bit is exact: a borrow only spoils
		// the bytes above it.
		hit := ((quote - lows) &^ quote & highs) | ((slash - lows) &^ slash & highs) | ((w - lows*' ') &^ w & highs)
		if hit != 0 {
			n := bits.TrailingZeros64(hit) / 8
			return i + n, (seen|w<<(64-8*n))&highs == 0
		}
		seen |= w
	}
	for ; i < len(data); i++ {
		c := data[i]
		if c == '"' || c == '\\' || c < ' ' {
			break
		}
		seen |= uint64(c)
	}
	return i, seen&highs == 0
}

func (p *parser) number() error {
	start := p.pos
	digits := func() error {
		first := p.pos
		for p.pos < len(p.data) && '0' <= p.data[p.pos] && p.data[p.pos] <= '9' {
			p.pos++
		}
		if p.pos == len(p.data) {
			return errShort
		}
		if p.pos == first {
			return errors.New("want a digit")
		}
		return nil
	}
	if p.data[p.pos] == '-' {
		p.pos++
	}
	if p.pos < len(p.data) && p.data[p.pos] == '0' {
		p.pos++
	} else if err := digits(); err != nil {
		return err
	}
	if p.pos < len(p.data) && p.data[p.pos] == '.' {
		p.pos++
		if err := digits(); err != nil {
			return err
		}
	}
	if p.pos < len(p.data) && p.data[p.pos]|0x20 == 'e' {
		p.pos++
		if p.pos < len(p.data) && (p.data[p.pos] == '+' || p.data[p.pos] == '-') {
			p.pos++
		}
		if err := digits(); err != nil {
			return err
		}
	}
	const safe = 300 // digits, and any number of fewer fits a float64 without exponent
	if text := p.data[start:p.pos]; len(text) > safe || bytes.ContainsAny(text, "eE") {
		if _, err := strconv.ParseFloat(string(text), 64); err != nil {
			p.pos = start
			return errors.New("this number is out of range")
		}
	}
	return nil
}

func (p *parser) literal(text string) error {
	rest := p.data[p.pos:]
	if len(rest) < len(text) {
		if strings.HasPrefix(text, string(rest)) {
			p.pos = len(p.data)
			return errShort
		}
	} else if string(rest[:len(text)]) == text {
		p.pos += len(text)
		return nil
	}
	return errors.New("want a JSON value")
}
