package bundle

import (
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// Template is a text with fields in braces: "{name}-{version}". Two braces
// stand for one.
type Template struct {
	// texts has one element more than fields, and they alternate.
	texts, fields []string
	source        string
}

// ParseTemplate reads a template; a brace without its partner is an error of
// code Invalid.
func ParseTemplate(source string) (Template, error) {
	t := Template{source: source}
	var literal strings.Builder
	for rest := source; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			literal.WriteByte(rest[0])
			rest = rest[2:]
		case rest[0] == '{':
			field, after, ok := strings.Cut(rest[1:], "}")
			if !ok || field == "" || strings.Contains(field, "{") {
				return Template{}, sdk.Errorf(sdk.Invalid,
					"the template %q has a { that no name and } follow; write {{ for the brace itself", source)
			}
			t.texts = append(t.texts, literal.String())
			t.fields = append(t.fields, field)
			literal.Reset()
			rest = after
		case rest[0] == '}':
			return Template{}, sdk.Errorf(sdk.Invalid,
				"the template %q has a } that closes nothing; write }} for the brace itself", source)
		default:
			literal.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	t.texts = append(t.texts, literal.String())
	return t, nil
}

// String returns the template as it was written.
func (t Template) String() string { return t.source }

// Fields returns the names in braces, in the order of the text.
func (t Template) Fields() []string { return t.fields }

// expand fills the fields. If one has no value, its name is returned.
func (t Template) expand(values map[string]string) (text, missing string) {
	var b strings.Builder
	for i, literal := range t.texts {
		b.WriteString(literal)
		if i == len(t.fields) {
			break
		}
		value, ok := values[t.fields[i]]
		if !ok {
			return "", t.fields[i]
		}
		b.WriteString(value)
	}
	return b.String(), ""
}
