package config

import (
	"fmt"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// origin marks a value that came from outside of the file, and says from where
// in the words of the file, such as env("IIB_REDIS_URL"). The mark follows the
// value through every expression.
type origin string

// computing are the functions that only compute. Left out are those that can make
// much of little, such as range and format.
var computing = map[string]function.Function{
	"coalesce":   stdlib.CoalesceFunc,
	"concat":     stdlib.ConcatFunc,
	"contains":   stdlib.ContainsFunc,
	"distinct":   stdlib.DistinctFunc,
	"join":       stdlib.JoinFunc,
	"keys":       stdlib.KeysFunc,
	"length":     stdlib.LengthFunc,
	"lower":      stdlib.LowerFunc,
	"merge":      stdlib.MergeFunc,
	"replace":    stdlib.ReplaceFunc,
	"split":      stdlib.SplitFunc,
	"trimprefix": stdlib.TrimPrefixFunc,
	"trimspace":  stdlib.TrimSpaceFunc,
	"trimsuffix": stdlib.TrimSuffixFunc,
	"upper":      stdlib.UpperFunc,
	"values":     stdlib.ValuesFunc,
}

// envFunction returns env(name, default...). A variable that is not set is
// null, which a setting takes as "not written" and a text template refuses: a
// forgotten variable is noticed where it matters.
func envFunction(o *outside) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam: &function.Parameter{
			Name: "default", Type: cty.String, AllowNull: true,
		},
		Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, function.NewArgErrorf(2, "env takes a name and at most one default")
			}
			name := args[0].AsString()
			value, set := o.variable(name)
			switch {
			case !set && len(args) == 2:
				return args[1], nil
			case !set:
				return cty.NullVal(cty.String), nil
			case !utf8.ValidString(value):
				return cty.NilVal, function.NewArgErrorf(0, "the variable's value is not UTF-8 text")
			}
			return cty.StringVal(value).Mark(origin(fmt.Sprintf("env(%s)", quote(name)))), nil
		},
	})
}

// fileFunction returns file(path): the content of a small file of text,
// without its last line break.
func fileFunction(o *outside) function.Function {
	return function.New(&function.Spec{
		// The marks are asked for, because a path that comes from outside must
		// not be named.
		Params: []function.Parameter{{Name: "path", Type: cty.String, AllowMarked: true}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			unmarked, marks := args[0].Unmark()
			path := unmarked.AsString()
			name := quote(path)
			if len(marks) > 0 {
				name = "..."
			}
			text, err := o.file(path)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "the file %s cannot be used: %v", name, reason(err))
			}
			return cty.StringVal(text).WithMarks(marks).Mark(origin("file(" + name + ")")), nil
		},
	})
}
