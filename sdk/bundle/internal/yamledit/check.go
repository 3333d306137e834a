package yamledit

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds recursion. The deepest object seen, a resource
	// definition with a schema of schemas, has 60 levels.
	maxDepth = 500
	// maxExpansion bounds how many nodes a reader that follows every alias
	// sees beyond those that are written.
	maxExpansion = 1 << 20
	// maxMarks bounds the characters that values are set apart by, and so the
	// memory for them: a node takes a hundred times the space of what is
	// written. The largest manifest seen has 43,000.
	maxMarks = 500_000
)

// checkSize refuses, before it is parsed, a text that could have more values
// than any real object.
func checkSize(src []byte) error {
	marks := 0
	for _, c := range src {
		switch c {
		case '\n', '\r', ',', '[', '{':
			marks++
		}
	}
	if marks > maxMarks {
		return fmt.Errorf("more than %d lines, commas and brackets", maxMarks)
	}
	return nil
}

// check refuses what the syntax allows and no honest manifest has.
func check(root *yaml.Node) error {
	if root == nil {
		return nil
	}
	c := checker{sizes: make(map[*yaml.Node]int)}
	_, err := c.visit(root, 0)
	return err
}

type checker struct {
	// sizes are of anchored nodes with their aliases followed; 0 while the
	// node is being visited.
	sizes map[*yaml.Node]int
	// extra counts the nodes that exist only because an alias is followed.
	extra int
}

// visit returns the number of nodes that a reader sees below and with n.
func (c *checker) visit(n *yaml.Node, depth int) (int, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("line %d: nested deeper than %d levels", n.Line, maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		size := c.sizes[n.Alias]
		if size == 0 {
			return 0, fmt.Errorf("line %d: alias %q lies within what it stands for", n.Line, n.Value)
		}
		if c.extra += size; c.extra > maxExpansion {
			return 0, fmt.Errorf("line %d: alias %q: the document's aliases stand for more than %d values",
				n.Line, n.Value, maxExpansion)
		}
		return size, nil
	}
	if n.Anchor != "" {
		c.sizes[n] = 0
	}
	if n.Kind == yaml.MappingNode {
		if err := uniqueKeys(n); err != nil {
			return 0, err
		}
	}
	size := 1
	for _, child := range n.Content {
		s, err := c.visit(child, depth+1)
		if err != nil {
			return 0, err
		}
		size += s
	}
	if n.Anchor != "" {
		c.sizes[n] = size
	}
	return size, nil
}

func uniqueKeys(m *yaml.Node) error {
	type key struct{ tag, value string }
	seen := make(map[key]int, len(m.Content)/2)
	for i := 0; i < len(m.Content); i += 2 {
		k := m.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			continue
		}
		id := key{k.ShortTag(), k.Value}
		if line, ok := seen[id]; ok {
			return fmt.Errorf("line %d: key %q is already on line %d", k.Line, k.Value, line)
		}
		seen[id] = k.Line
	}
	return nil
}
