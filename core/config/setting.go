package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// setting is a written value of the right type and form.
type setting struct {
	attr  *Attribute
	value cty.Value // known, not null, without marks
	// origin is where the value came from if not from the file. Such a value
	// must not be shown.
	origin string
	at     hcl.Range // of the value
	name   hcl.Range
	expr   hclsyntax.Expression
}

// ctyTypes are the types that values are converted to.
var ctyTypes = map[Type]cty.Type{
	String:       cty.String,
	Bool:         cty.Bool,
	Int:          cty.Number,
	Float:        cty.Number,
	Duration:     cty.String,
	List:         cty.List(cty.String),
	Map:          cty.Map(cty.String),
	MapMap:       cty.Map(cty.Map(cty.String)),
	SecretString: cty.String,
}

// typePhrases complete "x must be ...".
var typePhrases = map[Type]string{
	String:       "a text in quotes",
	Bool:         "true or false",
	Int:          "a whole number",
	Float:        "a number",
	Duration:     `a duration, such as "90s" or "2h"`,
	List:         `a list of texts, such as ["one", "two"]`,
	Map:          `a map of texts, such as { "key" = "value" }`,
	MapMap:       `a map of maps of texts, such as { "key" = { "inner" = "value" } }`,
	SecretString: "a text in quotes",
}

// setting reads and checks one attribute. It returns nil if the value is null,
// or wrong, which it has then reported.
func (d *decoder) setting(attr *hclsyntax.Attribute, a *Attribute) *setting {
	value, ok := d.scope.eval(attr.Expr, d.reporter)
	if !ok {
		return nil
	}
	s := &setting{attr: a, at: attr.Expr.Range(), name: attr.NameRange, expr: attr.Expr}
	value, s.origin = unmark(value)
	if value.IsNull() {
		if a.Required {
			d.errorf(s.at, "Missing setting", "%s has no value%s. Give it one.", a.Name, nullReason(attr.Expr))
		}
		return nil
	}
	if ty := value.Type(); a.Type == List && (ty == cty.String || ty == cty.Number || ty == cty.Bool) {
		d.errorf(s.at, "Wrong type", "%s must be %s. Put the value in brackets.", a.Name, typePhrases[List])
		return nil
	}
	value, err := convert.Convert(value, ctyTypes[a.Type])
	if err != nil || !value.IsWhollyKnown() || hasNull(value) {
		d.errorf(elementRange(s, err), "Wrong type", "%s must be %s.", a.Name, typePhrases[a.Type])
		return nil
	}
	s.value = value
	if !d.checkNumber(s) || !d.checkTexts(s) {
		return nil
	}
	return s
}

// nullReason explains a null: usually a variable that is not set.
func nullReason(expr hclsyntax.Expression) string {
	call, ok := expr.(*hclsyntax.FunctionCallExpr)
	if !ok || call.Name != "env" || len(call.Args) == 0 {
		return ""
	}
	if name, diags := call.Args[0].Value(nil); !diags.HasErrors() && name.Type() == cty.String && !name.IsNull() {
		return ": the environment variable " + name.AsString() + " is not set"
	}
	return ": the environment variable is not set"
}

// hasNull reports whether an element of a list or map is null.
func hasNull(v cty.Value) bool {
	null := false
	_ = cty.Walk(v, func(_ cty.Path, e cty.Value) (bool, error) {
		null = null || e.IsNull()
		return !null, nil
	})
	return null
}

// elementRange returns the place of the element that a conversion stumbled on.
func elementRange(s *setting, err error) hcl.Range {
	var at cty.PathError
	if !errors.As(err, &at) || len(at.Path) == 0 {
		return s.at
	}
	step, ok := at.Path[0].(cty.IndexStep)
	if !ok || step.Key.Type() != cty.Number {
		return s.at
	}
	i, _ := step.Key.AsBigFloat().Int64()
	return s.element(int(i))
}

// element returns the place of a list's element, where it can be told.
func (s *setting) element(i int) hcl.Range {
	if list, ok := s.expr.(*hclsyntax.TupleConsExpr); ok && 0 <= i && i < len(list.Exprs) {
		return list.Exprs[i].Range()
	}
	return s.at
}

func (d *decoder) checkNumber(s *setting) bool {
	switch s.attr.Type {
	case Int:
		n, accuracy := s.value.AsBigFloat().Int64()
		if accuracy != big.Exact {
			d.errorf(s.at, "Wrong type", "%s must be %s.", s.subject(), typePhrases[Int])
			return false
		}
		if least, most := s.attr.least, s.attr.most; (least != 0 || most != 0) && (n < least || n > most) {
			d.errorf(s.at, "Value out of range", "%s must be from %d to %d.", s.subject(), least, most)
			return false
		}
	case Float:
		if f, _ := s.value.AsBigFloat().Float64(); math.IsInf(f, 0) {
			d.errorf(s.at, "Value out of range", "%s is too large.", s.subject())
			return false
		}
	}
	return true
}

// checkTexts checks the text, or every text of a list or map.
func (d *decoder) checkTexts(s *setting) bool {
	ok := true
	check := func(text string, at hcl.Range) {
		if !d.checkText(s, text, at) {
			ok = false
		}
	}
	switch s.attr.Type {
	case String, SecretString, Duration:
		check(s.value.AsString(), s.at)
	case List:
		if s.attr.Required && s.attr.form != nil && s.value.LengthInt() == 0 {
			d.errorf(s.at, "Empty list", "%s needs at least one value. %s", s.attr.Name, s.attr.form.advice)
			return false
		}
		for i, v := range s.value.AsValueSlice() {
			check(v.AsString(), s.element(i))
		}
	case Map:
		for key := range s.value.AsValueMap() {
			check(key, s.at)
		}
	}
	return ok
}

// checkText applies the attribute's rules to one text. Of a map, the keys have
// a form.
func (d *decoder) checkText(s *setting, text string, at hcl.Range) bool {
	subject := s.subjectOf(text)
	if s.attr.oneOf != nil && !slices.Contains(s.attr.oneOf, text) {
		summary := "Unknown " + strings.ReplaceAll(s.attr.Name, "_", " ")
		hint := ""
		if !s.secret() {
			hint = didYouMean(text, s.attr.oneOf)
		}
		d.errorf(at, summary, "%s is none of %s.%s", subject, alternatives(s.attr.oneOf), hint)
		return false
	}
	f := s.attr.form
	if f == nil && s.attr.Type == Duration {
		f = durationForm
	}
	if f == nil || (text == "" && !s.attr.Required && s.attr.Type != List && s.attr.Type != Map) {
		// An empty text is what an empty environment variable gives; it means
		// the same as none.
		return true
	}
	if err := f.check(text); err != nil {
		reason := ""
		if _, quotes := err.(quoting); err != errForm && !(quotes && s.secret()) {
			reason = ": " + err.Error()
		}
		d.errorf(at, f.summary(), "%s is not %s%s. %s", subject, f.is, reason, f.advice)
		return false
	}
	return true
}

// subject names the setting and, unless it is secret, its value.
func (s *setting) subject() string {
	if s.attr.Type == Int || s.attr.Type == Float {
		return s.subjectAs(s.value.AsBigFloat().Text('g', 12))
	}
	return s.subjectAs(quote(s.value.AsString()))
}

func (s *setting) subjectOf(text string) string { return s.subjectAs(quote(text)) }

func (s *setting) subjectAs(value string) string {
	switch {
	case s.origin != "":
		return s.attr.Name + ", from " + s.origin + ","
	case s.secret():
		return s.attr.Name
	case s.attr.Type == Map:
		return "the key " + value + " of " + s.attr.Name
	}
	return s.attr.Name + " = " + value
}

// secret reports whether the value must not be shown.
func (s *setting) secret() bool {
	return s.origin != "" || s.attr.hidden || s.attr.Type == SecretString
}

// shown quotes a text that a setting has a part in, unless it must not be seen.
func (n *node) shown(name, text string) string {
	if s := n.settings[name]; s != nil && s.secret() {
		return "the value of " + name
	}
	return quote(text)
}

// hint proposes another text, unless that would tell something about a text
// that must not be seen.
func (n *node) hint(name, text string, candidates []string) string {
	if s := n.settings[name]; s != nil && s.secret() {
		text = ""
	}
	return known(text, candidates)
}

// The methods below return a setting's value, or its default. They panic if
// the schema has no such setting: the schema and the code that reads it are
// one thing.

func (n *node) attr(name string) *Attribute {
	a := n.block.attribute(name)
	if a == nil {
		panic("config: the schema has no setting " + n.block.Name + "." + name)
	}
	return a
}

// set reports whether a setting is written and not empty.
func (n *node) set(name string) bool {
	n.attr(name)
	s := n.settings[name]
	return s != nil && (s.attr.Type != String && s.attr.Type != SecretString || s.value.AsString() != "")
}

func (n *node) text(name string) string {
	a := n.attr(name)
	if n.set(name) {
		return n.settings[name].value.AsString()
	}
	if a.Default == "" {
		return ""
	}
	text, err := strconv.Unquote(a.Default)
	if err != nil {
		panic("config: the default of " + name + " is not a text")
	}
	return text
}

func (n *node) flag(name string) bool {
	if a := n.attr(name); !n.set(name) {
		return a.Default == "true"
	}
	return n.settings[name].value.True()
}

func (n *node) number(name string) int {
	if a := n.attr(name); !n.set(name) {
		i, _ := strconv.Atoi(a.Default)
		return i
	}
	i, _ := n.settings[name].value.AsBigFloat().Int64()
	return int(i)
}

func (n *node) duration(name string) time.Duration {
	d, _ := parseDuration(n.text(name))
	return d
}

func (n *node) size(name string) int64 {
	size, _ := parseSize(n.text(name))
	return size
}

func (n *node) list(name string) []string {
	a := n.attr(name)
	var texts []string
	if !n.set(name) {
		if err := json.Unmarshal([]byte(cmp.Or(a.Default, "[]")), &texts); err != nil {
			panic("config: the default of " + name + " is not a list")
		}
		return texts
	}
	for _, v := range n.settings[name].value.AsValueSlice() {
		texts = append(texts, v.AsString())
	}
	return texts
}

func (n *node) mapping(name string) map[string]string {
	n.attr(name)
	if !n.set(name) {
		return nil
	}
	texts := make(map[string]string)
	for k, v := range n.settings[name].value.AsValueMap() {
		texts[k] = v.AsString()
	}
	return texts
}
