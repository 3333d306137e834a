package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle/internal/yamledit"
)

// PullSpecs returns the pull specs that the bundle's CSVs have at the places
// where an image is expected, each once, in the order of CSV.PullSpecs.
func (b *Bundle) PullSpecs() ([]PullSpec, error) {
	csvs, err := b.CSVs()
	if err != nil {
		return nil, err
	}
	var specs []PullSpec
	seen := make(map[PullSpec]bool)
	for _, c := range csvs {
		found, err := c.PullSpecs()
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if s := ParsePullSpec(f.Image); !seen[s] {
				seen[s] = true
				specs = append(specs, s)
			}
		}
	}
	return specs, nil
}

// replace changes pull specs in every CSV, and then lists all images under
// relatedImages of a CSV that lists none.
func (b *Bundle) replace(replacements map[PullSpec]PullSpec) error {
	for old, replacement := range replacements {
		// What was malformed before is not the fault of the replacement.
		if err := replacement.check(); err != nil && old.check() == nil {
			return sdk.Errorf(sdk.Invalid, "replace %s: %w", old, err)
		}
	}
	csvs, err := b.CSVs()
	if err != nil {
		return err
	}
	for _, c := range csvs {
		if err := c.replace(replacements); err != nil {
			return err
		}
		if err := c.listImages(); err != nil {
			return err
		}
	}
	return nil
}

// replace changes pull specs everywhere: at the places where an image is
// expected, and wherever else a text as a whole is one of them. Annotations
// are not searched, except for what PullSpecs finds in them.
func (c *CSV) replace(replacements map[PullSpec]PullSpec) error {
	changes, err := c.changes(replacements)
	if err != nil || len(changes) == 0 {
		return err
	}
	for n, parts := range changes {
		slices.SortFunc(parts, func(a, b yamledit.Part) int { return cmp.Compare(a.From, b.From) })
		if err := c.doc.Replace(n, parts); err != nil {
			return sdk.Errorf(sdk.Invalid, "%s: change: %v", c.path, err)
		}
	}
	return c.apply()
}

// changes returns which parts of which values replace would change.
func (c *CSV) changes(replacements map[PullSpec]PullSpec) (map[*yaml.Node][]yamledit.Part, error) {
	found, err := c.PullSpecs()
	if err != nil {
		return nil, err
	}
	changes := make(map[*yaml.Node][]yamledit.Part)
	change := func(n *yaml.Node, from, to int) {
		old := ParsePullSpec(n.Value[from:to])
		replacement, ok := replacements[old]
		if !ok || replacement == old {
			return
		}
		for _, p := range changes[n] {
			if from < p.To && p.From < to {
				return
			}
		}
		changes[n] = append(changes[n], yamledit.Part{From: from, To: to, Text: replacement.String()})
	}
	for _, f := range found {
		change(f.node, f.part[0], f.part[1])
	}
	eachText(c.doc.Root(), func(n *yaml.Node) {
		// A single word may be an image of the default registry, but outside
		// the places for images it is a name that only looks the same.
		if strings.ContainsAny(n.Value, "/:@") {
			change(n, 0, len(n.Value))
		}
	})
	return changes, nil
}

// eachText visits every text value of a document that is not inside a
// metadata.annotations, each once.
func eachText(root *yaml.Node, visit func(*yaml.Node)) {
	visited := make(map[*yaml.Node]bool)
	var walk func(n *yaml.Node, annotated bool)
	walk = func(n *yaml.Node, annotated bool) {
		n = resolve(n)
		// A metadata object that an alias brings to another place is searched
		// as that place asks for: rare enough to be walked twice.
		if n.Anchor != "" && !annotated {
			if visited[n] {
				return
			}
			visited[n] = true
		}
		switch n.Kind {
		case yaml.ScalarNode:
			if yamledit.IsText(n) {
				visit(n)
			}
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(item, false)
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				key := n.Content[i].Value
				if !annotated || key != "annotations" {
					walk(n.Content[i+1], key == "metadata")
				}
			}
		}
	}
	if root != nil {
		walk(root, false)
	}
}

// listImages writes everything that PullSpecs finds to relatedImages, each
// name once, if the CSV has no related images yet.
func (c *CSV) listImages() error {
	root := c.doc.Root()
	spec := child(root, "spec")
	if len(items(child(spec, "relatedImages"))) > 0 {
		return nil
	}
	found, err := c.PullSpecs()
	if err != nil || len(found) == 0 {
		return err
	}
	entries, err := c.entries(found)
	if err != nil {
		return err
	}
	list := yamledit.Pair{Key: "relatedImages", Value: yamledit.List(entries...)}
	switch {
	case spec == nil || yamledit.IsNull(spec):
		err = c.doc.Put(root, yamledit.Pair{Key: "spec", Value: yamledit.Map(list)})
	case spec.Kind == yaml.MappingNode:
		err = c.doc.Put(spec, list)
	default:
		return c.errorf(spec, "spec is not a mapping")
	}
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "%s: list the related images: %v", c.path, err)
	}
	return c.apply()
}

// entries returns the items of relatedImages. Two images of one name are a
// mistake that only the bundle's author can put right; all are named at once.
func (c *CSV) entries(found []Found) ([]*yaml.Node, error) {
	byName := make(map[string]Found)
	var entries []*yaml.Node
	var conflicts []string
	for _, f := range found {
		if f.Name == "" {
			return nil, c.errorf(f.node, "%s %s has no name, and spec.relatedImages needs one", f.Where, f.Image)
		}
		first, ok := byName[f.Name]
		if !ok {
			byName[f.Name] = f
			entries = append(entries, yamledit.Map(
				yamledit.Pair{Key: "name", Value: yamledit.Text(f.Name)},
				yamledit.Pair{Key: "image", Value: yamledit.Text(f.Image)}))
		} else if ParsePullSpec(first.Image) != ParsePullSpec(f.Image) {
			conflicts = append(conflicts, fmt.Sprintf("%s (line %d) is %s but %s (line %d) is %s",
				first.Where, first.Line, first.Image, f.Where, f.Line, f.Image))
		}
	}
	if len(conflicts) > 0 {
		return nil, sdk.Errorf(sdk.Invalid,
			"%s: spec.relatedImages cannot be written because two images have one name: %s; rename one of each",
			c.path, strings.Join(conflicts, "; "))
	}
	return entries, nil
}
