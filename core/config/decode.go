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
	// parent is nil for the file itself.
	parent *node
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

// decode reads the body of a block of which the rest is known, and returns n. A
// mistake is reported and leaves its setting out, so that the rest is checked as
// well.
func (d *decoder) decode(body *hclsyntax.Body, n *node) *node {
	block := n.block
	n.body, n.settings = body, make(map[string]*setting)
	for name, attr := range body.Attributes {
		a := block.attribute(name)
		if a == nil {
			if !block.open {
				d.unknownSetting(attr, n)
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
			d.errorf(n.header, "Missing setting", "%s needs the setting %s. Add a line %s = %s.",
				sentence(n.title()), quote(a.Name), a.Name, example(a))
		}
	}
	d.decodeBlocks(n)
	return n
}

func (d *decoder) decodeBlocks(n *node) {
	count := make(map[string]int)
	first := make(map[string]*node) // by type and labels
	for _, b := range n.body.Blocks {
		schema := n.block.block(b.Type)
		if schema == nil {
			if !n.block.open {
				d.unknownBlock(b, n)
			}
			continue
		}
		count[b.Type]++
		if count[b.Type] > 1 && !schema.Multiple {
			d.errorf(b.DefRange(), "Duplicate block",
				"There is only one %s block in %s. Put the settings of both into one.", b.Type, n.title())
		}
		if child := d.child(b, schema, n); child != nil {
			if schema.unique {
				d.checkUnique(first, child)
			}
			n.children = append(n.children, child)
		}
	}
	for i := range n.block.Blocks {
		if schema := &n.block.Blocks[i]; schema.Required && count[schema.Name] == 0 {
			d.errorf(n.header, "Missing block", "%s needs a block %s {...}. Add one.", sentence(n.title()), schema.Name)
		}
	}
}

// child reads one block that the schema knows. It is nil if the labels are so
// wrong that the body cannot be judged.
func (d *decoder) child(b *hclsyntax.Block, schema *Block, parent *node) *node {
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
		d.errorf(at, "Wrong labels", "%s block %s", sentence(article(schema.Name)), advice)
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
	return d.decode(b.Body, &node{block: schema, labels: labels, labelRanges: ranges, header: header, parent: parent})
}

// checkUnique reports a block with the type and labels of an earlier one.
func (d *decoder) checkUnique(first map[string]*node, n *node) {
	other, ok := first[n.title()]
	if !ok {
		first[n.title()] = n
		return
	}
	d.errorf(n.header, "Duplicate block",
		"The block %s is in line %d already. Rename one of the two, or put them together.",
		n.title(), other.header.Start.Line)
}

func (d *decoder) unknownSetting(attr *hclsyntax.Attribute, n *node) {
	if b := n.block.block(attr.Name); b != nil {
		d.errorf(attr.NameRange, "Unknown setting",
			"%s is a block, not a setting. Write %s without the equals sign.", quote(attr.Name), usage(b))
		return
	}
	hint := known(attr.Name, n.block.attributeNames())
	if n.parent == nil {
		hint = homeOf(attr.Name, n.block)
	}
	d.errorf(attr.NameRange, "Unknown setting", "%s has no setting %s.%s", sentence(n.title()), quote(attr.Name), hint)
}

func (d *decoder) unknownBlock(b *hclsyntax.Block, n *node) {
	if a := n.block.attribute(b.Type); a != nil {
		d.errorf(b.DefRange(), "Unknown block",
			"%s is a setting, not a block. Write %s = %s.", quote(b.Type), a.Name, example(a))
		return
	}
	d.errorf(b.DefRange(), "Unknown block", "%s has no block %s.%s",
		sentence(n.title()), quote(b.Type), known(b.Type, n.block.blockNames()))
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

// title names the block: plugin "x", the server block.
func (n *node) title() string {
	switch {
	case n.parent == nil:
		return "the file"
	case len(n.labels) > 0:
		var b strings.Builder
		b.WriteString(n.block.Name)
		for _, l := range n.labels {
			if l != "" {
				b.WriteString(" " + quote(l))
			}
		}
		return b.String()
	case n.parent.parent == nil:
		return "the " + n.block.Name + " block"
	}
	return "the " + n.block.Name + " block of " + n.parent.title()
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
	return &node{block: block, header: n.header, parent: n}
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
