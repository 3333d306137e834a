package config

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sort"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The bounds of a file. Real ones have a few hundred lines; these only keep a
// file that is none, or that was made to do harm, from exhausting the process.
const (
	maxFile      = 1 << 20 // bytes
	maxDepth     = 50      // brackets in brackets
	maxBrackets  = 50_000  // of all kinds, in texts and comments too
	maxOperators = 10_000  // operators and indexes; a chain of them nests, too
	maxHeredoc   = 5_000   // lines of texts that begin with <<; the parser takes their square
	maxFindings  = 100     // that are reported
)

// parseBody parses a file, and reports its syntax errors.
//
// After one error the parser keeps quiet about others. So a file with errors is
// parsed again, each top-level block for itself.
func (r *reporter) parseBody(text []byte) *hclsyntax.Body {
	file, diags := hclsyntax.ParseConfig(text, r.file, hcl.InitialPos)
	if !diags.HasErrors() {
		return file.Body.(*hclsyntax.Body)
	}
	text, unfinished := r.finishTexts(text)
	whole := &hclsyntax.Body{Attributes: make(hclsyntax.Attributes)}
	start := hcl.InitialPos
	for _, end := range itemEnds(text) {
		if len(r.found) > maxFindings {
			break
		}
		file, diags := hclsyntax.ParseConfig(text[start.Byte:end.Byte], r.file, start)
		// What follows from an unfinished text on the same line is no news.
		r.addHCL(slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool {
			return d.Subject != nil && unfinished[d.Subject.Start.Line]
		}))
		part := file.Body.(*hclsyntax.Body)
		maps.Copy(whole.Attributes, part.Attributes)
		whole.Blocks = append(whole.Blocks, part.Blocks...)
		start = end
	}
	if len(r.found) == 0 {
		// The parts are right each for itself, and wrong together.
		r.addHCL(diags)
	}
	return whole
}

// maxUnfinished is how many unfinished texts are looked for.
const maxUnfinished = 10

// finishTexts reports texts whose closing quote is missing. To the parser such
// a text goes on to the next quote, wherever that is, and everything after it
// is the wrong way round. In the copy that is returned a word stands for the
// text, so that the rest can be judged. The lines are those of the texts.
func (r *reporter) finishTexts(text []byte) (repaired []byte, lines map[int]bool) {
	text, lines = bytes.Clone(text), make(map[int]bool)
	start := hcl.InitialPos
	for range maxUnfinished {
		open, lineEnd, ok := unfinishedText(text[start.Byte:], r.file, start)
		if !ok {
			break
		}
		start = lineEnd
		r.errorf(open, "Unfinished text", "The text that begins here does not end on its line. Add the closing quote.")
		lines[open.Start.Line] = true
		finish(text[open.Start.Byte:lineEnd.Byte])
	}
	return text, lines
}

// finish replaces a text from its opening quote to the end of its line by a
// word of the same length. A brace at the end of the line was probably not
// meant to be a part of the text.
func finish(text []byte) {
	visible, _, _ := bytes.Cut(text, []byte("#"))
	visible = bytes.TrimRight(visible, " \t\r")
	last := len(visible) - 1
	for i, c := range text {
		brace := i == last && (c == '{' || c == '}')
		if c != '\n' && c != '\r' && !brace {
			text[i] = ' '
		}
	}
	text[0] = 'x'
}

// unfinishedText finds the first text in quotes with a line break in it: its
// opening quote, and the line break.
func unfinishedText(text []byte, file string, start hcl.Pos) (open hcl.Range, lineEnd hcl.Pos, ok bool) {
	tokens, _ := hclsyntax.LexConfig(text, file, start)
	var quotes []hcl.Range // the opening quotes of the texts that we are in
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOQuote:
			quotes = append(quotes, t.Range)
		case hclsyntax.TokenCQuote:
			quotes = quotes[:max(len(quotes)-1, 0)]
		case hclsyntax.TokenQuotedNewline:
			if len(quotes) > 0 {
				return quotes[len(quotes)-1], t.Range.Start, true
			}
		}
	}
	return hcl.Range{}, hcl.Pos{}, false
}

// checkText reports a file that is no text.
func (r *reporter) checkText(text []byte) bool {
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		if c == 0 || c == utf8.RuneError && size == 1 {
			line := 1 + bytes.Count(text[:i], []byte("\n"))
			r.fail(r.file, "Not a text file", "Line %d has a byte that is no UTF-8 text. Is this the right file?", line)
			return false
		}
		i += size
	}
	return true
}

// checkBounds reports a file that nests deeper than the parser, which calls
// itself for every level, can bear. Brackets are counted before anything else,
// because the scanner too takes long for very many of them.
func (r *reporter) checkBounds(text []byte) bool {
	brackets := 0
	for _, c := range text {
		if c == '(' || c == '[' || c == '{' {
			brackets++
		}
	}
	if brackets > maxBrackets {
		r.fail(r.file, "Too complex", "The file has too many brackets to be a configuration. Is this the right file?")
		return false
	}
	tokens, _ := hclsyntax.LexConfig(text, r.file, hcl.InitialPos)
	depth, operators, lines := 0, 0, 0
	for _, t := range tokens {
		depth += nesting(t.Type)
		switch t.Type {
		case hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
			hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr,
			hclsyntax.TokenBang, hclsyntax.TokenQuestion, hclsyntax.TokenOBrack, hclsyntax.TokenTemplateControl:
			operators++
		case hclsyntax.TokenStringLit:
			lines++
		}
		if depth > maxDepth || operators > maxOperators || lines > maxHeredoc {
			r.errorf(t.Range, "Too complex", "The file nests too deep, has too many operators, or too long texts, to be a configuration. Is this the right file?")
			return false
		}
	}
	return true
}

// itemEnds returns where the lines end that are not inside of a block.
func itemEnds(text []byte) []hcl.Pos {
	tokens, _ := hclsyntax.LexConfig(text, "", hcl.InitialPos)
	var ends []hcl.Pos
	depth := 0
	for _, t := range tokens {
		depth = max(0, depth+nesting(t.Type))
		lineEnd := t.Type == hclsyntax.TokenNewline || t.Type == hclsyntax.TokenComment && bytes.HasSuffix(t.Bytes, []byte("\n"))
		if t.Type == hclsyntax.TokenEOF || lineEnd && depth == 0 {
			ends = append(ends, t.Range.End)
		}
	}
	return ends
}

// nesting is how a token changes the depth of brackets.
func nesting(t hclsyntax.TokenType) int {
	switch t {
	case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
		hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		return 1
	case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
		return -1
	}
	return 0
}

// elsewhere returns the findings of those top-level blocks that have no syntax
// error. In the others the parser has lost its way, and what it took for the
// rest of the block would be blamed for nothing.
func elsewhere(found, syntax Diagnostics, body *hclsyntax.Body) Diagnostics {
	blocks := slices.SortedFunc(slices.Values(body.Blocks), func(a, b *hclsyntax.Block) int {
		return cmp.Compare(a.TypeRange.Start.Line, b.TypeRange.Start.Line)
	})
	// block returns the index of the block that a line is in, or -1.
	block := func(line int) int {
		after := sort.Search(len(blocks), func(i int) bool { return blocks[i].TypeRange.Start.Line > line })
		if after == 0 || blocks[after-1].CloseBraceRange.End.Line < line {
			return -1
		}
		return after - 1
	}
	broken := map[int]bool{-1: true}
	for _, d := range syntax {
		broken[block(d.Range.Line)] = true
	}
	return slices.DeleteFunc(slices.Clone(found), func(d Diagnostic) bool { return broken[block(d.Range.Line)] })
}
