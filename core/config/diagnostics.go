package config

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Severity says whether a file with this diagnostic can be used.
type Severity int

const (
	// Error: the file cannot be used.
	Error Severity = iota
	// Warning: the file can be used, and probably does not do what is wanted.
	Warning
)

// Range is a part of a file. Lines and columns count from 1; a column is a
// character as a reader sees it. Line is 0 when no place in the file is at
// fault, and File then names what is.
type Range struct {
	File      string
	Line      int
	Column    int
	EndLine   int
	EndColumn int
}

// String returns the range's start as file:line:column.
func (r Range) String() string {
	if r.Line == 0 {
		return r.File
	}
	return fmt.Sprintf("%s:%d:%d", r.File, r.Line, r.Column)
}

// Diagnostic is one finding about a configuration.
type Diagnostic struct {
	Severity Severity
	// Summary is one of a fixed set of phrases without names in it, such as
	// "Unknown queue".
	Summary string
	// Detail is full sentences that name what is wrong and end in what to do.
	Detail string
	Range  Range

	// source is the line that Range starts in, without its line break.
	source string
}

// String returns the diagnostic on one line, as logs want it.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.Range != (Range{}) {
		b.WriteString(d.Range.String() + ": ")
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(d.Summary)
	if d.Detail != "" {
		b.WriteString(": " + d.Detail)
	}
	return printable(b.String())
}

// Diagnostics are findings in the order of their places. Nil is none.
type Diagnostics []Diagnostic

// HasErrors reports whether any finding is an Error.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Err returns ds as an error if it has errors, and nil otherwise.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return diagnosticsError{ds}
}

type diagnosticsError struct{ Diagnostics }

func (e diagnosticsError) Error() string {
	var lines []string
	for _, d := range e.Diagnostics {
		if d.Severity == Error {
			lines = append(lines, d.String())
		}
	}
	return strings.Join(lines, "\n")
}

// WriteLog writes one line per finding.
func (ds Diagnostics) WriteLog(w io.Writer) error {
	for _, d := range ds {
		if _, err := fmt.Fprintln(w, d); err != nil {
			return err
		}
	}
	return nil
}

// WriteTerminal writes each finding with the line of the file that it is
// about, the place marked under it. With color it uses ANSI escapes.
func (ds Diagnostics) WriteTerminal(w io.Writer, color bool) error {
	paint := func(code, s string) string {
		if !color {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	var b strings.Builder
	for i, d := range ds {
		if i > 0 {
			b.WriteByte('\n')
		}
		word, code := "Error", "1;31"
		if d.Severity == Warning {
			word, code = "Warning", "1;33"
		}
		fmt.Fprintf(&b, "%s %s\n", paint(code, word+":"), paint("1", printable(d.Summary)))
		if d.Range != (Range{}) {
			fmt.Fprintf(&b, "  %s\n", printable(d.Range.String()))
		}
		if d.source != "" {
			number := strconv.Itoa(d.Range.Line)
			text, marks := underline(d.source, d.Range)
			fmt.Fprintf(&b, "\n    %s | %s\n", number, text)
			fmt.Fprintf(&b, "    %s   %s\n\n", strings.Repeat(" ", len(number)), paint(code, marks))
		}
		if d.Detail != "" {
			fmt.Fprintf(&b, "  %s\n", printable(d.Detail))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sourceWidth is how much of a long line is shown.
const sourceWidth = 100

// underline returns the source line as it can be printed, and a line of carets
// below the range. Tabs become one space, so that both lines align; columns
// are taken for runes, which is wrong only for combined characters.
func underline(source string, r Range) (text, marks string) {
	runes := []rune(strings.ReplaceAll(source, "\t", " "))
	start := min(max(r.Column-1, 0), len(runes))
	end := len(runes)
	if r.EndLine == r.Line {
		end = min(max(r.EndColumn-1, start), len(runes))
	}
	first := 0
	if start > sourceWidth*3/4 {
		first = start - sourceWidth/4
	}
	last := min(len(runes), first+sourceWidth)
	text = printable(string(runes[first:last]))
	marks = strings.Repeat(" ", start-first) + strings.Repeat("^", max(min(end, last)-start, 1))
	return text, marks
}

// printable replaces what could steer a terminal or break a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

// Sorted returns ds in the order of their places, each finding once.
func (ds Diagnostics) Sorted() Diagnostics {
	ds = slices.Clone(ds)
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Range.File, b.Range.File),
			cmp.Compare(a.Range.Line, b.Range.Line),
			cmp.Compare(a.Range.Column, b.Range.Column),
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Summary, b.Summary),
			cmp.Compare(a.Detail, b.Detail),
		)
	})
	return slices.Compact(ds)
}

// capped returns ds, shortened to what somebody would read.
func (ds Diagnostics) capped() Diagnostics {
	if len(ds) <= maxFindings {
		return ds
	}
	// The errors are what keeps the file from being used.
	errors := slices.DeleteFunc(ds, func(d Diagnostic) bool { return d.Severity != Error })
	if rest := len(errors) - maxFindings; rest > 0 {
		errors = append(errors[:maxFindings:maxFindings], Diagnostic{
			Summary: "Too many mistakes",
			Detail:  fmt.Sprintf("There are %d more. Correct these first.", rest),
			Range:   Range{File: errors[0].Range.File},
		})
	}
	return errors
}
