package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// source is a file's name and text.
type source struct {
	file string
	text string
	// outside is what the file asks for; nil as long as nothing was evaluated.
	outside *outside
}

// reporter collects what is found about one file.
type reporter struct {
	source
	found Diagnostics
}

// errorf reports a mistake at a place of the file. The detail is a format.
func (r *reporter) errorf(at hcl.Range, summary, detail string, args ...any) {
	r.add(Error, at, summary, fmt.Sprintf(detail, args...))
}

// warnf reports something that is probably not wanted.
func (r *reporter) warnf(at hcl.Range, summary, detail string, args ...any) {
	r.add(Warning, at, summary, fmt.Sprintf(detail, args...))
}

// fail reports a mistake that has no place in the file.
func (r *reporter) fail(where, summary, detail string, args ...any) {
	r.found = append(r.found, Diagnostic{
		Summary: summary, Detail: fmt.Sprintf(detail, args...), Range: Range{File: where},
	})
}

func (r *reporter) add(severity Severity, at hcl.Range, summary, detail string) {
	d := Diagnostic{Severity: severity, Summary: summary, Detail: detail, Range: r.rangeOf(at)}
	d.source = r.line(at)
	r.found = append(r.found, d)
}

// addHCL reports what the parser or an expression found.
func (r *reporter) addHCL(diags hcl.Diagnostics) {
	for _, d := range diags {
		at := hcl.Range{Filename: r.file, Start: hcl.InitialPos, End: hcl.InitialPos}
		if d.Subject != nil {
			at = *d.Subject
		}
		severity := Error
		if d.Severity == hcl.DiagWarning {
			severity = Warning
		}
		summary, detail := strings.TrimSuffix(d.Summary, "."), d.Detail
		if r.outside != nil {
			detail = r.outside.redact(detail)
		}
		detail = strings.Join(strings.Fields(detail), " ")
		if own, ok := wording[summary]; ok {
			summary = own.summary
			if own.detail != "" {
				detail = own.detail
			}
		}
		if runes := []rune(detail); len(runes) > 500 {
			detail = string(runes[:500]) + "…"
		}
		r.add(severity, at, summary, detail)
	}
}

// wording puts what HCL finds most often into the words of our documentation,
// which has settings and no arguments or attributes. An empty detail leaves
// HCL's own.
var wording = map[string]struct{ summary, detail string }{
	"Missing newline after argument": {"Missing line break",
		"A setting ends with its line. Put what follows on a line of its own; if it is text, put it in quotes."},
	"Argument or block definition required": {"Misplaced text",
		"Here a setting or a block is expected. Remove what is there, or the bracket too many before it."},
	"Unclosed configuration block": {"Unclosed block",
		"The block that begins here has no closing brace. Add it, here or where a bracket inside is missing."},
	"Invalid single-argument block definition": {"Crowded block",
		"A block on one line has at most one setting. Put each on a line of its own."},
	"Argument definition required": {"Crowded block",
		"A block on one line has no blocks in it. Put each on a line of its own."},
	"Attribute redefined": {"Duplicate setting",
		"This block has the setting already. Remove one of the two."},
	"Invalid argument name": {"Quoted name",
		"The name of a setting stands without quotes. Remove them."},
	"Call to unknown function": {"Unknown function", ""},
	"Unsupported attribute": {"Unknown key",
		"The value has nothing of that name in it. Correct the name."},
	"Invalid template interpolation value": {"Missing value",
		`A part of the text has no value that can be put there. If it is a variable that is not set, write a default: env("NAME", "default").`},
}

func (s source) rangeOf(at hcl.Range) Range {
	return Range{
		File: s.file,
		Line: at.Start.Line, Column: at.Start.Column,
		EndLine: at.End.Line, EndColumn: at.End.Column,
	}
}

// maxShownLine is the length in bytes of a line that a diagnostic may show.
const maxShownLine = 4096

// line returns the line that a range starts in, or "" if it is unreasonable to
// show it.
func (s source) line(at hcl.Range) string {
	offset := at.Start.Byte
	if offset < 0 || offset > len(s.text) {
		return ""
	}
	before, after := s.text[:offset], s.text[offset:]
	if len(before) > maxShownLine {
		before = before[len(before)-maxShownLine:]
		if !strings.Contains(before, "\n") {
			return ""
		}
	}
	before = before[strings.LastIndexByte(before, '\n')+1:]
	if len(after) > maxShownLine {
		after = after[:maxShownLine]
		if !strings.Contains(after, "\n") {
			return ""
		}
	}
	after, _, _ = strings.Cut(after, "\n")
	return strings.TrimSuffix(before+after, "\r")
}
