// Package printed is what plugins that run other programs share: what to keep
// of their output, and what to show of it.
package printed

import (
	"bytes"
	"strings"
	"unicode"
)

// Tail keeps the end of what is written to it. The zero value keeps nothing.
type Tail struct {
	Limit int
	buf   bytes.Buffer
}

func (t *Tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - t.Limit; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *Tail) String() string { return t.buf.String() }

// LastLine returns the last line that says something, fit for a message.
func LastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, lines[len(lines)-1]))
	const most = 500
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "..."
	}
	return line
}
