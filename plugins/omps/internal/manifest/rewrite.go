package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/intake"
)

// Rules are what an organization wants different in every manifest.
type Rules struct {
	// Suffix ends every package's name; empty means none.
	Suffix       string
	Replacements []Replacement
	// Annotations are set on ClusterServiceVersions, in this order.
	Annotations []Annotation
}

// Replacement replaces text in all manifests. Pattern is nil for a literal.
type Replacement struct {
	Old, New string
	Pattern  *regexp.Regexp
}

// Annotation is a name and a value, in which {package_name} is filled in.
type Annotation struct{ Name, Value string }

// NewReplacement returns a rule. The replacement of a regular expression may
// refer to groups: \1, \g<1> or \g<name>.
func NewReplacement(old, replacement string, isPattern bool) (Replacement, error) {
	if old == "" {
		return Replacement{}, fmt.Errorf("what to replace is empty")
	}
	if !isPattern {
		return Replacement{Old: old, New: replacement}, nil
	}
	pattern, err := regexp.Compile("(?m)" + old)
	if err != nil {
		return Replacement{}, err
	}
	expansion, err := template(replacement)
	return Replacement{Old: old, New: expansion, Pattern: pattern}, err
}

var reference = regexp.MustCompile(`\\(?:([0-9]{1,2})|g<([A-Za-z0-9_]+)>|(.)|$)`)

// template turns references with a backslash into those of Go's expressions.
func template(text string) (string, error) {
	var fault error
	out := reference.ReplaceAllStringFunc(strings.ReplaceAll(text, "$", "$$"), func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		switch {
		case m[1] != "" || m[2] != "":
			return "${" + m[1] + m[2] + "}"
		case m[3] == "n":
			return "\n"
		case m[3] == "t":
			return "\t"
		case m[3] == `\`:
			return `\`
		}
		fault = fmt.Errorf("%q is no reference to a group", ref)
		return ref
	})
	return out, fault
}

// Rename applies the suffix to the package's name in its file, and returns the
// name. Nothing else in the file changes.
func (r *Rules) Rename(files intake.Files, name, file string) (string, error) {
	if r.Suffix == "" || strings.HasSuffix(name, r.Suffix) {
		return name, nil
	}
	d, err := parse(files[file])
	if err != nil {
		return "", unreadable(file, err)
	}
	node := child(d.node, "packageName")
	if node == nil || node.Kind != yaml.ScalarNode {
		return "", fault.New(fault.PackageValidation, "The packageName in /%s must be a text of its own, so that the organization's suffix can be added.", file)
	}
	renamed := name + r.Suffix
	lines := bytes.SplitAfter(files[file], []byte("\n"))
	if i := node.Line - 1; i >= 0 && i < len(lines) {
		line := []rune(string(lines[i]))
		if start := node.Column - 1; start >= 0 && start <= len(line) {
			rest := string(line[start:])
			for _, quote := range []string{"", `"`, "'"} {
				if old := quote + name + quote; strings.HasPrefix(rest, old) {
					lines[i] = []byte(string(line[:start]) + quote + renamed + quote + rest[len(old):])
					if changed := bytes.Join(lines, nil); nameIn(changed) == renamed {
						files[file] = changed
						return renamed, nil
					}
				}
			}
		}
	}
	node.SetString(renamed)
	files[file], err = encode(d.node)
	return renamed, err
}

func nameIn(content []byte) any {
	d, err := parse(content)
	if err != nil {
		return nil
	}
	return member(d.value, "packageName")
}

// maxRewritten bounds what replacements may make of all files together.
const maxRewritten = 64 << 20

// Apply replaces texts and sets annotations in every manifest.
func (r *Rules) Apply(files intake.Files, packageName string) error {
	total := 0
	for _, name := range files.Paths() {
		if isYAMLAnyCase(name) {
			files[name] = r.replace(files[name])
		}
		if total += len(files[name]); total > maxRewritten {
			return fault.New(fault.PackageValidation, "The organization's replacements make the manifests larger than %d bytes.", maxRewritten)
		}
	}
	if len(r.Annotations) == 0 {
		return nil
	}
	for _, name := range files.Paths() {
		if !isYAMLAnyCase(name) {
			continue
		}
		d, err := parse(files[name])
		if err != nil {
			return unreadable(name, err)
		}
		if d.kind() != "ClusterServiceVersion" {
			continue
		}
		if err := r.annotate(d, packageName); err != nil {
			return unreadable(name, err)
		}
		if files[name], err = encode(d.node); err != nil {
			return unreadable(name, err)
		}
	}
	return nil
}

func (r *Rules) replace(content []byte) []byte {
	for _, rule := range r.Replacements {
		if rule.Pattern == nil {
			content = bytes.ReplaceAll(content, []byte(rule.Old), []byte(rule.New))
		} else {
			content = rule.Pattern.ReplaceAll(content, []byte(rule.New))
		}
	}
	return content
}

func (r *Rules) annotate(d *document, packageName string) error {
	metadata, err := ensure(d.node, "metadata")
	if err != nil {
		return err
	}
	annotations, err := ensure(metadata, "annotations")
	if err != nil {
		return err
	}
	for _, a := range r.Annotations {
		value := strings.ReplaceAll(a.Value, "{package_name}", packageName)
		if node := child(annotations, a.Name); node != nil {
			*node = yaml.Node{}
			node.SetString(value)
			continue
		}
		key, node := new(yaml.Node), new(yaml.Node)
		key.SetString(a.Name)
		node.SetString(value)
		annotations.Content = append(annotations.Content, key, node)
	}
	return nil
}

// ensure returns the mapping at a key, which is made where there is none.
func ensure(node *yaml.Node, key string) (*yaml.Node, error) {
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	found := child(node, key)
	switch {
	case found == nil:
		name := new(yaml.Node)
		name.SetString(key)
		found = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		node.Content = append(node.Content, name, found)
	case found.Kind == yaml.ScalarNode && found.Tag == "!!null":
		*found = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	case found.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("its %s is not a mapping", key)
	}
	found.Style &^= yaml.FlowStyle
	return found, nil
}

// encode writes a node; long lines stay whole.
func encode(node *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(node); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
