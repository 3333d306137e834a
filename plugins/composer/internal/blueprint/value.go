package blueprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// maxDepth bounds how deep values may lie in each other, and how many parts a
// key may have: what reads them calls itself, and what a body of a few hundred
// kilobytes can nest is more than that should do.
const maxDepth = 64

// FromTOML reads a table. The values are those of Blueprint.Customizations.
func FromTOML(text string) (map[string]any, error) {
	if err := checkDepth(text); err != nil {
		return nil, err
	}
	var table map[string]any
	if _, err := toml.Decode(text, &table); err != nil {
		return nil, err
	}
	return plainTable(table)
}

// FromJSON reads an object. The values are those of Blueprint.Customizations.
func FromJSON(data []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the JSON object")
	}
	return plainTable(object)
}

func plainTable(table map[string]any) (map[string]any, error) {
	v, err := plain(table, 0)
	if err != nil {
		return nil, err
	}
	return v.(map[string]any), nil
}

// plain returns a value as both formats can have it. Nothing is left out, which
// JSON knows and TOML does not.
func plain(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the values are nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		table := make(map[string]any, len(v))
		for key, value := range v {
			p, err := plain(value, depth+1)
			if err != nil {
				return nil, err
			}
			if p != nil {
				table[key] = p
			}
		}
		return table, nil
	case []map[string]any:
		list := make([]any, 0, len(v))
		for _, value := range v {
			list = append(list, value)
		}
		return plain(list, depth)
	case []any:
		list := make([]any, 0, len(v))
		for _, value := range v {
			p, err := plain(value, depth+1)
			if err != nil {
				return nil, err
			}
			if p == nil {
				return nil, errors.New("a list must not hold null")
			}
			list = append(list, p)
		}
		return list, nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		return plainFloat(v.Float64())
	case float64:
		return plainFloat(v, nil)
	case time.Time:
		if y := v.Year(); y < 0 || y > 9999 {
			return nil, fmt.Errorf("the year %d is not one of four digits", y)
		}
	}
	return v, nil
}

func plainFloat(n float64, err error) (any, error) {
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return nil, errors.New("a number is too large, or none")
	}
	return n, nil
}

// same compares two values of plain.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, func(v, w any) bool { return same(v, w) })
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, func(v, w any) bool { return same(v, w) })
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// checkDepth finds what is nested too deeply in a TOML text, before it is
// parsed. It need not understand the text, only never count less than there is;
// what is in quotes and comments is not counted.
func checkDepth(text string) error {
	open, parts := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '#':
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end - 1
				continue
			}
			return nil
		case '"', '\'':
			i = endOfString(text, i)
		case '[', '{':
			open++
			parts = 0
		case ']', '}':
			open = max(open-1, 0)
		case '.':
			parts++
		case '\n', '=', ',':
			parts = 0
		}
		if open > maxDepth || parts > maxDepth {
			return fmt.Errorf("line %d: the values are nested deeper than %d", 1+strings.Count(text[:min(i, len(text))], "\n"), maxDepth)
		}
	}
	return nil
}

// endOfString returns where the last quote is of the string that begins at i.
func endOfString(text string, i int) int {
	quote := text[i : i+1]
	long := strings.HasPrefix(text[i:], strings.Repeat(quote, 3))
	if !long && strings.HasPrefix(text[i+1:], quote) {
		return i + 1
	}
	end, from := quote, i+1
	if long {
		end, from = strings.Repeat(quote, 3), i+3
	}
	for j := from; j < len(text); j++ {
		switch {
		case quote == `"` && text[j] == '\\':
			j++
		case !long && text[j] == '\n':
			return j - 1 // not closed: the parser will say so
		case strings.HasPrefix(text[j:], end):
			return j + len(end) - 1
		}
	}
	return len(text)
}
