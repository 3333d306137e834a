package config

import (
	"fmt"
	"strings"
)

// Reference returns the description of every block and setting of iib.hcl, in
// Markdown, as docs/configuration.md has it.
func Reference() string {
	var b strings.Builder
	for i := range language.Blocks {
		writeBlock(&b, &language.Blocks[i], "", 3)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// writeBlock describes a block under a heading; in is where it stands.
func writeBlock(b *strings.Builder, block *Block, in string, level int) {
	name := block.Name
	for _, l := range block.Labels {
		name += fmt.Sprintf(" %q", strings.ToUpper(l))
	}
	writeHeading(b, level, "`"+name+"`"+in, block.Doc+number(block))
	writeSettings(b, block.Attributes)
	inside := " in `" + block.Name + "`"
	for i := range block.Blocks {
		writeBlock(b, &block.Blocks[i], inside, level+1)
	}
	for i := range block.variants {
		v := &block.variants[i]
		writeHeading(b, level+1, fmt.Sprintf("`%s %q`", block.Name, v.Name), v.Doc)
		writeSettings(b, v.Attributes)
	}
}

// number tells how often a block may be written, where it is not once.
func number(block *Block) string {
	switch {
	case block.Required:
		return " At least one is needed."
	case block.unique && block.variants == nil:
		return " There may be several, with different labels."
	}
	return ""
}

func writeHeading(b *strings.Builder, level int, title, doc string) {
	fmt.Fprintf(b, "%s %s\n\n%s\n\n", strings.Repeat("#", level), title, doc)
}

func writeSettings(b *strings.Builder, attributes []Attribute) {
	if len(attributes) == 0 {
		return
	}
	b.WriteString("| Setting | Type | Default | Meaning |\n| --- | --- | --- | --- |\n")
	for i := range attributes {
		a := &attributes[i]
		doc := a.Doc
		if len(a.oneOf) > 0 {
			doc += " One of " + codes(a.oneOf) + "."
		}
		if a.least != 0 || a.most != 0 {
			doc += fmt.Sprintf(" From %d to %d.", a.least, a.most)
		}
		if a.restart {
			doc += " *Needs a restart.*"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.Name, typeName(a), defaultText(a), strings.ReplaceAll(doc, "|", `\|`))
	}
	b.WriteByte('\n')
}

func codes(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = fmt.Sprintf("`%q`", t)
	}
	return strings.Join(quoted, ", ")
}

// typeName is the type, with the form of its texts.
func typeName(a *Attribute) string {
	what := "text"
	if a.form != nil {
		what = a.form.name
	}
	switch a.Type {
	case Bool:
		return "true or false"
	case Int:
		return "whole number"
	case Float:
		return "number"
	case List:
		return "list of " + what + "s"
	case Map:
		return "map from " + what + " to text"
	case MapMap:
		return "map of maps of texts"
	case SecretString:
		if a.form == nil {
			return "secret text"
		}
	}
	return what
}

func defaultText(a *Attribute) string {
	switch {
	case a.Required:
		return "required"
	case a.Default != "":
		return "`" + a.Default + "`"
	case a.Type == List:
		return "`[]`"
	case a.Type == Map, a.Type == MapMap:
		return "`{}`"
	case a.Type == Int:
		return "`0`"
	}
	return "empty"
}
