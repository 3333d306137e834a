package yamledit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Part is a piece of a scalar's value and what takes its place.
type Part struct {
	// From and To are byte offsets in the value.
	From, To int
	Text     string
}

// Set changes the whole value of a scalar to text. The scalar keeps its place,
// its anchor and, where the text allows it, its quotes.
func (d *Document) Set(n *yaml.Node, text string) error {
	return d.Replace(n, []Part{{To: len(n.Value), Text: text}})
}

// Replace changes parts of a scalar's value; they are in ascending order and
// do not overlap. The rest of the scalar keeps its bytes: its line breaks, its
// escapes, its indentation. A scalar is changed at most once before Apply.
func (d *Document) Replace(n *yaml.Node, parts []Part) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: not a single value", n.Line)
	}
	value, err := spliced(n.Value, parts)
	if err != nil {
		return err
	}
	if value == n.Value && IsText(n) {
		return nil
	}
	if err := d.touch(n); err != nil {
		return err
	}
	t, err := d.locate(n)
	if err != nil {
		return err
	}
	if edits, ok := d.inPlace(t, n, parts, value); ok {
		d.edits = append(d.edits, edits...)
	} else {
		d.edits = append(d.edits, d.rewritten(t, n, value))
	}
	n.Value, n.Tag = value, "!!str"
	return nil
}

func (d *Document) touch(n *yaml.Node) error {
	if d.touched[n] {
		return fmt.Errorf("line %d: changed twice", n.Line)
	}
	if d.touched == nil {
		d.touched = make(map[*yaml.Node]bool)
	}
	d.touched[n] = true
	return nil
}

func spliced(value string, parts []Part) (string, error) {
	var b strings.Builder
	end := 0
	for _, p := range parts {
		if p.From < end || p.To < p.From || p.To > len(value) {
			return "", errors.New("the parts of a value overlap or lie outside it")
		}
		b.WriteString(value[end:p.From])
		b.WriteString(p.Text)
		end = p.To
	}
	b.WriteString(value[end:])
	return b.String(), nil
}

// inPlace returns edits of the parts alone, if the way in which the scalar is
// written can express them.
func (d *Document) inPlace(t token, n *yaml.Node, parts []Part, value string) ([]edit, bool) {
	if !IsText(n) {
		return nil, false
	}
	if t.glued || t.style == 0 && (d.offsets != nil || !readsAsText(value)) {
		return nil, false
	}
	edits := make([]edit, 0, len(parts))
	for _, p := range parts {
		text, ok := inStyle(t.style, p.Text)
		if !ok || !isTrimmed(n.Value[p.From:p.To]) {
			return nil, false
		}
		e := edit{t.value.from[p.From], t.value.to[p.To-1], text}
		if t.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && d.lineEnd(e.start) < e.end {
			// The indentation of the next line would be left behind.
			return nil, false
		}
		edits = append(edits, e)
	}
	return edits, true
}

// inStyle returns how text is written inside a scalar of that style.
func inStyle(style yaml.Style, text string) (string, bool) {
	if !isTrimmed(text) {
		return "", false
	}
	switch style {
	case yaml.DoubleQuotedStyle:
		var b strings.Builder
		writeEscaped(&b, text)
		return b.String(), true
	case yaml.SingleQuotedStyle:
		return strings.ReplaceAll(text, "'", "''"), isPrintable(text)
	case yaml.LiteralStyle, yaml.FoldedStyle:
		return text, isPrintable(text)
	}
	return text, isPlainWord(text)
}

// isTrimmed reports whether text begins and ends with something to be seen.
// White space at its ends may decide how a line is folded.
func isTrimmed(text string) bool { return text != "" && strings.TrimSpace(text) == text }

// isPrintable reports whether text is one line that needs no escapes.
func isPrintable(text string) bool { return doubleQuotedBody(text) == text }

func doubleQuotedBody(text string) string {
	var b strings.Builder
	writeEscaped(&b, strings.NewReplacer(`"`, "", `\`, "").Replace(text))
	return b.String()
}

// rewritten returns the edit that writes a scalar anew.
func (d *Document) rewritten(t token, n *yaml.Node, value string) edit {
	text := d.scalar(value)
	if t.style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		text = doubleQuoted(value)
	}
	if t.comment != "" {
		text += " " + t.comment
	}
	start := t.start
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != "!!str" {
		// The tag is gone with the value that it was for.
		start, _ = d.offset(n)
		n.Style &^= yaml.TaggedStyle
		if n.Anchor != "" {
			text = "&" + n.Anchor + " " + text
		}
	}
	if t.glued || start == t.end && start > 0 && !isSpaceBefore(d.src, start) {
		text = " " + text
	}
	return edit{start, t.end, text}
}

// scalar writes a text as a value of its own.
func (d *Document) scalar(text string) string {
	if d.offsets == nil && isPlain(text) {
		return text
	}
	return doubleQuoted(text)
}

// isPlainWord reports whether text can stand in an unquoted scalar of any
// context: it is made of what names and pull specs are made of.
func isPlainWord(text string) bool {
	alnum := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for i := range len(text) {
		if !alnum(text[i]) && strings.IndexByte("/-._@:+", text[i]) < 0 {
			return false
		}
	}
	return text != "" && alnum(text[0]) && alnum(text[len(text)-1])
}

// notText are words that some reader of YAML 1.1 takes for a value of another
// type.
var notText = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}

// isPlain reports whether every reader takes text, unquoted, for that text. No
// number or time of any version of YAML has a slash.
func isPlain(text string) bool {
	number := text != "" && text[0] >= '0' && text[0] <= '9' && !strings.Contains(text, "/")
	return isPlainWord(text) && !number &&
		!slices.Contains(notText, strings.ToLower(text))
}

// readsAsText reports whether an unquoted scalar of this value is a string.
func readsAsText(value string) bool {
	n := yaml.Node{Kind: yaml.ScalarNode, Value: value}
	return n.ShortTag() == "!!str" && (!isPlainWord(value) || isPlain(value))
}
