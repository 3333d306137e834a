package bundle

import (
	"iter"

	"go.yaml.in/yaml/v3"
)

// resolve follows an alias. It returns nil for nil.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// child returns the value of a key, its aliases followed, or nil if n is not a
// mapping or has no such key. A key of the mapping itself wins over those that
// it merges in.
func child(n *yaml.Node, key string) *yaml.Node {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key && k.Tag != mergeTag {
			return resolve(n.Content[i+1])
		}
	}
	for _, merged := range merges(n) {
		if value := child(merged, key); value != nil {
			return value
		}
	}
	return nil
}

// descend follows keys from n and returns nil where one is missing.
func descend(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = child(n, key)
	}
	return n
}

// items returns the elements of a sequence, their aliases followed, and none
// for anything else.
func items(n *yaml.Node) []*yaml.Node {
	n = resolve(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	all := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		all[i] = resolve(item)
	}
	return all
}

// pairs yields the keys that are single values, and their values with aliases
// followed, of a mapping and of what it merges in.
func pairs(n *yaml.Node) iter.Seq2[string, *yaml.Node] {
	return func(yield func(string, *yaml.Node) bool) {
		n = resolve(n)
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || k.Tag == mergeTag {
				continue
			}
			seen[k.Value] = true
			if !yield(k.Value, resolve(n.Content[i+1])) {
				return
			}
		}
		for _, merged := range merges(n) {
			for key, value := range pairs(merged) {
				if !seen[key] {
					seen[key] = true
					if !yield(key, value) {
						return
					}
				}
			}
		}
	}
}

const mergeTag = "!!merge"

// merges returns the mappings that a mapping merges in, the strongest first.
func merges(n *yaml.Node) []*yaml.Node {
	var all []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Tag != mergeTag {
			continue
		}
		if value := resolve(n.Content[i+1]); value.Kind == yaml.SequenceNode {
			all = append(all, items(value)...)
		} else {
			all = append(all, value)
		}
	}
	return all
}
