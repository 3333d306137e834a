package yamledit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// simpleEscapes are those of YAML 1.1 and 1.2 that stand for one character.
var simpleEscapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v",
	'f': "\f", 'r': "\r", 'e': "\x1b", ' ': " ", '"': `"`, '\'': "'", '\\': `\`,
	'/': "/", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}

// unescape decodes the escape sequence that src begins with and returns its
// length, 0 if it is none.
func unescape(src []byte) (value string, width int) {
	if len(src) < 2 {
		return "", 0
	}
	if value, ok := simpleEscapes[src[1]]; ok {
		return value, 2
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[src[1]]
	code, ok := hex(src[2:], digits)
	if !ok {
		return "", 0
	}
	width = 2 + digits
	if utf16.IsSurrogate(code) {
		// Only JSON has them: a character beyond 16 bits is written as two.
		if rest := src[width:]; len(rest) > 2 && rest[0] == '\\' && rest[1] == 'u' {
			if low, ok := hex(rest[2:], 4); ok && utf16.DecodeRune(code, low) != utf8.RuneError {
				return string(utf16.DecodeRune(code, low)), width + 6
			}
		}
		code = utf8.RuneError
	}
	return string(code), width
}

func hex(src []byte, digits int) (rune, bool) {
	if digits == 0 || len(src) < digits {
		return 0, false
	}
	code, err := strconv.ParseUint(string(src[:digits]), 16, 32)
	return rune(code), err == nil
}

// doubleQuoted writes text so that YAML and JSON both read it back.
func doubleQuoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	writeEscaped(&b, text)
	b.WriteByte('"')
	return b.String()
}

func writeEscaped(b *strings.Builder, text string) {
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ', r >= 0x7F && r < 0xA0, r == 0x2028, r == 0x2029, r == 0xFEFF, r == 0xFFFE, r == 0xFFFF:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
}
