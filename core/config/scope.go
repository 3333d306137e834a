package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// scope is what an expression can refer to: functions, and the values of the
// locals blocks.
type scope struct {
	functions map[string]function.Function
	locals    map[string]*local
	names     []string // of the locals, sorted
	whole     *hcl.EvalContext
}

// local is one attribute of a locals block.
type local struct {
	attr  *hclsyntax.Attribute
	state localState
	value cty.Value
}

type localState int

const (
	waiting localState = iota
	running
	done
	broken // reported already; who refers to it need not be
)

// newScope returns a scope without locals.
func newScope(o *outside) *scope {
	s := &scope{
		functions: map[string]function.Function{"env": envFunction(o), "file": fileFunction(o)},
		locals:    make(map[string]*local),
	}
	for name, f := range computing {
		s.functions[name] = f
	}
	return s
}

// define evaluates the locals blocks of a file. They may refer to each other
// in any order.
func (s *scope) define(blocks []*hclsyntax.Block, r *reporter) {
	for _, block := range blocks {
		for _, inner := range block.Body.Blocks {
			r.errorf(inner.DefRange(), "Unknown block",
				"A locals block has settings only. Write %s = {...}.", inner.Type)
		}
		for name, attr := range block.Body.Attributes {
			if first, ok := s.locals[name]; ok {
				// Attributes is a map: the later in the file is the one to blame.
				if first.attr.SrcRange.Start.Byte > attr.SrcRange.Start.Byte {
					first.attr, attr = attr, first.attr
				}
				r.errorf(attr.NameRange, "Duplicate local",
					"The local %s is defined in line %d already. Remove one of the two, or rename it.",
					quote(name), first.attr.NameRange.Start.Line)
				continue
			}
			s.locals[name] = &local{attr: attr}
			s.names = append(s.names, name)
		}
	}
	slices.Sort(s.names)
	all := make(map[string]cty.Value, len(s.names))
	for _, name := range s.names {
		if s.resolve(name, r) {
			all[name] = s.locals[name].value
		}
	}
	s.whole = s.context(all)
}

func (s *scope) context(locals map[string]cty.Value) *hcl.EvalContext {
	return &hcl.EvalContext{
		Variables: map[string]cty.Value{"local": cty.ObjectVal(locals)},
		Functions: s.functions,
	}
}

// resolve evaluates one local, and before it those that it refers to.
func (s *scope) resolve(name string, r *reporter) bool {
	l := s.locals[name]
	switch l.state {
	case done:
		return true
	case broken:
		return false
	}
	l.state = running
	refs, ok := s.references(l.attr.Expr, r)
	needed := make(map[string]cty.Value, len(refs))
	for _, ref := range refs {
		switch {
		case ref.name == "":
			r.errorf(ref.at, "Invalid reference",
				"Inside of a locals block one value is referred to at a time. Write local.NAME.")
			ok = false
		case s.locals[ref.name].state == running:
			r.errorf(ref.at, "Circular local",
				"The local %s is needed to find its own value. Break the circle.", quote(ref.name))
			ok = false
		case !s.resolve(ref.name, r):
			ok = false
		default:
			needed[ref.name] = s.locals[ref.name].value
		}
	}
	l.state = broken
	if !ok {
		return false
	}
	value, diags := l.attr.Expr.Value(s.context(needed))
	r.addHCL(diags)
	if diags.HasErrors() {
		return false
	}
	l.value, l.state = value, done
	return true
}

// eval returns the value of an expression. If it has none, that is reported,
// now or earlier.
func (s *scope) eval(expr hclsyntax.Expression, r *reporter) (cty.Value, bool) {
	refs, ok := s.references(expr, r)
	for _, ref := range refs {
		if ref.name != "" && s.locals[ref.name].state == broken {
			ok = false
		}
	}
	if !ok {
		return cty.NilVal, false
	}
	value, diags := expr.Value(s.whole)
	r.addHCL(diags)
	return value, !diags.HasErrors()
}

// reference is a use of a local. The name is "" where all of them are used.
type reference struct {
	name string
	at   hcl.Range
}

// references returns the locals that an expression uses, and reports names
// that do not exist.
func (s *scope) references(expr hclsyntax.Expression, r *reporter) (refs []reference, ok bool) {
	ok = true
	for _, t := range expr.Variables() {
		at := t.SourceRange()
		if root := t.RootName(); root != "local" {
			ok = false
			switch {
			case root == "locals":
				r.errorf(at, "Unknown name",
					`A value of the locals block is written "local.NAME". Remove the "s".`)
			case isWord(expr):
				r.errorf(at, "Unknown name",
					"There is nothing of the name %s to refer to. If it is meant as text, put it in quotes.", quote(root))
			default:
				r.errorf(at, "Unknown name",
					"There is nothing of the name %s to refer to.%s Text is put in quotes.",
					quote(root), didYouMean(root, []string{"local"}))
			}
			continue
		}
		ref := reference{at: at}
		if len(t) > 1 {
			switch step := t[1].(type) {
			case hcl.TraverseAttr:
				ref.name = step.Name
			case hcl.TraverseIndex:
				if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
					ref.name = step.Key.AsString()
				}
			}
		}
		if ref.name != "" && s.locals[ref.name] == nil {
			r.errorf(at, "Unknown local", "There is no %s in a locals block.%s",
				quote(ref.name), known(ref.name, s.names))
			ok = false
			continue
		}
		refs = append(refs, ref)
	}
	return refs, ok
}

// isWord reports whether an expression is nothing but a name, as when somebody
// forgot the quotes.
func isWord(expr hclsyntax.Expression) bool {
	_, ok := expr.(*hclsyntax.ScopeTraversalExpr)
	return ok
}

// unmark returns a value without its marks, and where it came from: "" if all
// of it is written in the file.
func unmark(v cty.Value) (cty.Value, string) {
	v, marks := v.UnmarkDeep()
	var origins []string
	for m := range marks {
		if o, ok := m.(origin); ok {
			origins = append(origins, string(o))
		}
	}
	slices.Sort(origins)
	return v, strings.Join(origins, " and ")
}
