package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// node is a block as it was read, checked against its schema.
type node struct {
	block  *Block
	labels []string
	// header is the block's type and labels; labelRanges are those of the labels.
	header      hcl.Range
	labelRanges []hcl.Range
	// settings are those that are written, have a value and are right.
	settings map[string]*setting
	// children are the blocks inside, in the order of the file.
	children []*node
	body     *hclsyntax.Body
}

// decoder reads blocks in a scope.
type decoder struct {
	*reporter
	scope *scope
}

// decode reads a body. A mistake is reported and leaves its setting out, so
// that the rest is checked as well.
func (d *decoder) decode(body *hclsyntax.Body, block *Block, labels []string, header hcl.Range) *node {
	n := &node{block: block, labels: labels, header: header, body: body, settings: make(map[string]*setting)}
	for name, attr := range body.Attributes {
		a := block.attribute(name)
		if a == nil {
			if !block.open {
				d.unknownSetting(attr, block)
			}
			continue
		}
		if s := d.setting(attr, a); s != nil {
			n.settings[name] = s
		}
	}
	for i := range block.Attributes {
		a := &block.Attributes[i]
		attr := body.Attributes[a.Name]
		if a.Required && attr == nil {
			d.errorf(header, "Missing setting", "%s needs the setting %s. Add a line %s = %s.",
				n.title(), quote(a.Name), a.Name, example(a))
		}
	}
	d.decodeBlocks(n)
	return n
}

func (d *decoder) decodeBlocks(n *node) {
	count := make(map[string]int)
	for _, b := range n.body.Blocks {
		schema := n.block.block(b.Type)
		if schema == nil {
			if !n.block.open {
				d.unknownBlock(b, n.block)
			}
			continue
		}
		count[b.Type]++
		if count[b.Type] > 1 && !schema.Multiple {
			d.errorf(b.DefRange(), "Duplicate block",
				"There is only one %s block in %s. Put the settings of both into one.", b.Type, n.place())
		}
		if child := d.child(b, schema); child != nil {
			if schema.unique {
				d.checkUnique(n, child)
			}
			n.children = append(n.children, child)
		}
	}
	for i := range n.block.Blocks {
		if schema := &n.block.Blocks[i]; schema.Required && count[schema.Name] == 0 {
			d.errorf(n.header, "Missing block", "%s needs a block %s {...}. Add one.", n.title(), schema.Name)
		}
	}
}

// child reads one block that the schema knows. It is nil if the labels are so
// wrong that the body cannot be judged.
func (d *decoder) child(b *hclsyntax.Block, schema *Block) *node {
	header := b.DefRange()
	if len(b.Labels) != len(schema.Labels) {
		advice := "has no label. Remove it."
		if len(schema.Labels) > 0 {
			advice = "is written " + usage(schema) + ". Correct the labels."
		}
		at := header
		if extra := len(schema.Labels); len(b.LabelRanges) > extra {
			at = b.LabelRanges[extra]
		}
		d.errorf(at, "Wrong labels", "%s %s", schema.label(), advice)
		if schema.variants != nil && len(b.Labels) == 0 {
			return nil
		}
	}
	if schema.variants != nil {
		v := schema.variant(b.Labels[0])
		if v == nil {
			d.errorf(b.LabelRanges[0], "Unknown "+schema.Name+" "+schema.Labels[0],
				"%s is none of %s.%s", quote(b.Labels[0]), alternatives(schema.variantNames()),
				didYouMean(b.Labels[0], schema.variantNames()))
			return nil
		}
		whole := *schema
		whole.Schema = v.Schema
		schema = &whole
	}
	// Too few labels have been reported; the rest of the code may rely on
	// their number.
	labels, ranges := slices.Clip(b.Labels), slices.Clip(b.LabelRanges)
	for len(labels) < len(schema.Labels) {
		labels, ranges = append(labels, ""), append(ranges, header)
	}
	n := d.decode(b.Body, schema, labels, header)
	n.labelRanges = ranges
	return n
}

func (d *decoder) checkUnique(parent, child *node) {
	for _, other := range parent.children {
		if other.block.Name == child.block.Name && slices.Equal(other.labels, child.labels) {
			d.errorf(child.header, "Duplicate block",
				"The block %s is in line %d already. Rename one of the two, or put them together.",
				child.title(), other.header.Start.Line)
			return
		}
	}
}

func (d *decoder) unknownSetting(attr *hclsyntax.Attribute, in *Block) {
	if b := in.block(attr.Name); b != nil {
		d.errorf(attr.NameRange, "Unknown setting",
			"%s is a block, not a setting. Write %s without the equals sign.", quote(attr.Name), usage(b))
		return
	}
	hint := known(attr.Name, in.attributeNames())
	if in.Name == "" {
		hint = homeOf(attr.Name, in)
	}
	d.errorf(attr.NameRange, "Unknown setting", "%s has no setting %s.%s", in.label(), quote(attr.Name), hint)
}

func (d *decoder) unknownBlock(b *hclsyntax.Block, in *Block) {
	if a := in.attribute(b.Type); a != nil {
		d.errorf(b.DefRange(), "Unknown block",
			"%s is a setting, not a block. Write %s = %s.", quote(b.Type), a.Name, example(a))
		return
	}
	d.errorf(b.DefRange(), "Unknown block", "%s has no block %s.%s",
		in.label(), quote(b.Type), known(b.Type, in.blockNames()))
}

// homeOf tells which block a setting belongs to that stands outside of all.
func homeOf(name string, file *Block) string {
	for i := range file.Blocks {
		if b := &file.Blocks[i]; b.attribute(name) != nil {
			return fmt.Sprintf(" Put it into the block %s.", usage(b))
		}
	}
	return " Put it into a block."
}

// title names the block at the beginning of a sentence: plugin "x".
func (n *node) title() string {
	if n.block.Name == "" {
		return "The file"
	}
	var b strings.Builder
	b.WriteString(n.block.Name)
	for _, l := range n.labels {
		if l != "" {
			b.WriteString(" " + quote(l))
		}
	}
	return b.String()
}

// place names the block inside of a sentence.
func (n *node) place() string {
	if n.block.Name == "" {
		return "the file"
	}
	return n.title()
}

// label names the kind of block at the beginning of a sentence.
func (b *Block) label() string {
	if b.Name == "" {
		return "The file"
	}
	return sentence(article(b.Name)) + " block"
}

// usage shows how a block is written.
func usage(b *Block) string {
	var s strings.Builder
	s.WriteString(b.Name)
	for _, l := range b.Labels {
		s.WriteString(" " + strings.ToUpper(quote(l)))
	}
	s.WriteString(" {...}")
	return s.String()
}

// example is what a value of an attribute may look like.
func example(a *Attribute) string {
	if len(a.oneOf) > 0 {
		return quote(a.oneOf[0])
	}
	switch a.Type {
	case Bool:
		return "true"
	case Int, Float:
		return "1"
	case Duration:
		return `"30s"`
	case List:
		return `["..."]`
	case Map:
		return `{ "..." = "..." }`
	case MapMap:
		return `{ "..." = { "..." = "..." } }`
	}
	return `"..."`
}

// all returns the blocks of a kind, in file order.
func (n *node) all(name string) []*node {
	var found []*node
	for _, c := range n.children {
		if c.block.Name == name {
			found = append(found, c)
		}
	}
	return found
}

// one returns the only block of a kind, or an empty one if there is none, so
// that its settings have their defaults.
func (n *node) one(name string) *node {
	if found := n.all(name); len(found) > 0 {
		return found[0]
	}
	block := n.block.block(name)
	if block == nil {
		panic("config: the schema has no block " + name)
	}
	return &node{block: block, header: n.header}
}

// has reports whether the file has a block of that kind here.
func (n *node) has(name string) bool { return len(n.all(name)) > 0 }

// at returns the place of a setting's value, or the block's if it has none.
func (n *node) at(name string) hcl.Range {
	if s := n.settings[name]; s != nil {
		return s.at
	}
	return n.header
}

// walk calls visit for the node and everything inside.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, c := range n.children {
		c.walk(visit)
	}
}
