package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Body is the part of a block that belongs to a plugin. What may stand in it
// is known only when the plugin runs and has told its Schema.
type Body struct {
	body   *hclsyntax.Body
	owner  *node     // the plugin or customize block
	header hcl.Range // of the block that the settings are in
	scope  *scope
	source source
	// written is everything in the body, for Show and Diff.
	written *written
}

// body takes the body of n, an open block, without the settings that the block
// has besides. Its expressions are evaluated now: a wrong one is reported even
// if the plugin never runs.
func (d *decoder) body(n, owner *node) Body {
	b := Body{
		body: &hclsyntax.Body{}, owner: owner, header: n.header,
		scope: d.scope, source: d.source,
	}
	if n.body != nil {
		own := *n.body
		own.Attributes = maps.Clone(own.Attributes)
		for _, a := range n.block.Attributes {
			delete(own.Attributes, a.Name)
		}
		b.body = &own
	}
	b.written = d.written(b.body)
	return b
}

// Values returns the settings as a JSON object of the shape that the schema
// describes. Settings that are not written are left out. A label of a block is
// a key beside the block's settings, a block that may occur several times is
// an array, a duration is a text such as "1h30m0s".
//
// The object has secrets in it. It is nil if there are errors.
func (b *Body) Values(schema Schema) ([]byte, Diagnostics) {
	d := &decoder{reporter: &reporter{source: b.source}, scope: b.scope}
	if d.checkSchema(b, &schema) {
		n := d.decode(b.body, b.node(schema))
		if !d.found.HasErrors() {
			data, err := json.Marshal(n.values())
			if err != nil {
				panic("config: " + err.Error()) // texts, finite numbers, and lists and maps of them
			}
			return data, d.found.Sorted()
		}
	}
	return nil, d.found.Sorted()
}

// node returns the block whose settings these are, with the plugin's schema.
func (b *Body) node(schema Schema) *node {
	if b.owner.block.Name == "customize" {
		return &node{block: &Block{Name: "customize", Schema: schema}, labels: b.owner.labels, header: b.header, parent: b.owner.parent}
	}
	return &node{block: &Block{Name: "config", Schema: schema}, header: b.header, parent: b.owner}
}

// checkSchema reports types that this engine does not know: a plugin of
// another time.
func (d *decoder) checkSchema(b *Body, s *Schema) bool {
	for _, a := range s.Attributes {
		if _, ok := ctyTypes[a.Type]; !ok {
			d.errorf(b.owner.header, "Unknown setting type",
				"The plugin says that its setting %s is of the type %s, which this engine does not know. Use versions that fit together.",
				quote(a.Name), quote(string(a.Type)))
			return false
		}
	}
	for i := range s.Blocks {
		if !d.checkSchema(b, &s.Blocks[i].Schema) {
			return false
		}
	}
	return true
}

// values returns a block's settings and blocks as they are sent to a plugin.
func (n *node) values() map[string]any {
	object := make(map[string]any)
	for i, label := range n.block.Labels {
		object[label] = n.labels[i]
	}
	for name, s := range n.settings {
		object[name] = s.plain()
	}
	for _, c := range n.children {
		if !c.block.Multiple {
			object[c.block.Name] = c.values()
			continue
		}
		list, _ := object[c.block.Name].([]any)
		object[c.block.Name] = append(list, c.values())
	}
	return object
}

// plain returns the value as encoding/json wants it.
func (s *setting) plain() any {
	switch s.attr.Type {
	case Bool:
		return s.value.True()
	case Int:
		i, _ := s.value.AsBigFloat().Int64()
		return i
	case Float:
		return json.Number(s.value.AsBigFloat().Text('g', -1))
	case Duration:
		d, _ := parseDuration(s.value.AsString())
		return d.String()
	case List:
		texts := []string{}
		for _, v := range s.value.AsValueSlice() {
			texts = append(texts, v.AsString())
		}
		return texts
	case Map:
		return textMap(s.value)
	case MapMap:
		texts := make(map[string]map[string]string)
		for k, v := range s.value.AsValueMap() {
			texts[k] = textMap(v)
		}
		return texts
	}
	return s.value.AsString()
}

func textMap(v cty.Value) map[string]string {
	texts := make(map[string]string)
	for k, e := range v.AsValueMap() {
		texts[k] = e.AsString()
	}
	return texts
}

// FieldRange returns the place of a setting that a plugin names: "url", or
// inside of blocks "tls.ca_file", "query[1].decision_context",
// `query.default.decision_context`. Where there is no such setting it is the
// place of the innermost block that there is.
func (b *Body) FieldRange(field string) Range {
	return b.source.rangeOf(b.fieldRange(field))
}

// Rejected returns the diagnostic for what a plugin itself has against one of
// its settings, or against all of them if field is empty.
func (b *Body) Rejected(field, message string) Diagnostic {
	r := reporter{source: b.source}
	message = b.source.outside.redact(message)
	detail := fmt.Sprintf("%s says: %s.", sentence(b.owner.title()), strings.TrimRight(message, ". "))
	if field != "" {
		detail = fmt.Sprintf("%s does not accept its setting %s: %s.",
			sentence(b.owner.title()), quote(field), strings.TrimRight(message, ". "))
	}
	r.errorf(b.fieldRange(field), "Invalid setting", "%s", detail)
	return r.found[0]
}

func (b *Body) fieldRange(field string) hcl.Range {
	body, at := b.body, b.header
	steps := fieldSteps(field)
	for len(steps) > 0 {
		name := steps[0]
		if attr := body.Attributes[name]; attr != nil {
			return attr.Expr.Range()
		}
		var named []*hclsyntax.Block
		for _, inner := range body.Blocks {
			if inner.Type == name {
				named = append(named, inner)
			}
		}
		if len(named) == 0 {
			return at
		}
		chosen := named[0]
		steps = steps[1:]
		if len(steps) > 0 {
			if i, err := strconv.Atoi(steps[0]); err == nil && 0 <= i && i < len(named) {
				chosen, steps = named[i], steps[1:]
			} else if i := slices.IndexFunc(named, func(x *hclsyntax.Block) bool {
				return len(x.Labels) > 0 && x.Labels[0] == steps[0]
			}); i >= 0 {
				chosen, steps = named[i], steps[1:]
			}
		}
		body, at = chosen.Body, chosen.DefRange()
	}
	return at
}

// fieldSteps splits a[1].b and a.1.b into a, 1, b.
func fieldSteps(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool {
		return r == '.' || r == '[' || r == ']' || r == '"'
	})
}

// written is the content of an open body.
type written struct {
	settings map[string]writtenValue
	blocks   []writtenBlock
}

type writtenValue struct {
	json   json.RawMessage
	secret bool
}

type writtenBlock struct {
	name    string
	labels  []string
	content *written
}

func (d *decoder) written(body *hclsyntax.Body) *written {
	w := &written{settings: make(map[string]writtenValue)}
	for name, attr := range body.Attributes {
		value, ok := d.scope.eval(attr.Expr, d.reporter)
		if !ok {
			continue
		}
		value, origin := unmark(value)
		data, err := ctyjson.Marshal(value, value.Type())
		if err != nil {
			d.errorf(attr.Expr.Range(), "Wrong type", "%s must be a text, a number, true, false, a list or a map.", name)
			continue
		}
		w.settings[name] = writtenValue{json: data, secret: origin != "" || soundsSecret(name)}
	}
	for _, inner := range body.Blocks {
		w.blocks = append(w.blocks, writtenBlock{name: inner.Type, labels: inner.Labels, content: d.written(inner.Body)})
	}
	return w
}

// soundsSecret guesses whether a setting of a plugin that was not asked yet
// holds a secret.
func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"password", "passwd", "secret", "token", "credential", "key"} {
		if strings.Contains(name, word) && !strings.HasSuffix(name, "_file") {
			return true
		}
	}
	return false
}

// plain returns the content as encoding/json wants it.
func (w *written) plain(reveal bool) map[string]any {
	object := make(map[string]any)
	if w == nil {
		return object
	}
	for name, v := range w.settings {
		object[name] = v.json
		if v.secret && !reveal {
			object[name] = masked
		}
	}
	for _, b := range w.blocks {
		content := b.content.plain(reveal)
		for i, l := range b.labels {
			content["label "+strconv.Itoa(i+1)] = l
		}
		list, _ := object[b.name].([]any)
		object[b.name] = append(list, content)
	}
	return object
}
