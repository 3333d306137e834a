package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
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
func envFunction(lookup func(string) (string, bool), note func(string)) function.Function {
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
			value, set := lookup(name)
			switch {
			case !set && len(args) == 2:
				return args[1], nil
			case !set:
				return cty.NullVal(cty.String), nil
			case !utf8.ValidString(value):
				return cty.NilVal, function.NewArgErrorf(0, "the variable's value is not UTF-8 text")
			}
			note(value)
			return cty.StringVal(value).Mark(origin(fmt.Sprintf("env(%s)", quote(name)))), nil
		},
	})
}

// maxIncluded is the size in bytes of what file() may read. It is meant for
// passwords and keys.
const maxIncluded = 64 << 10

// fileFunction returns file(path): the content of a small file of text,
// without its last line break. Each file is read once, so that all who ask see
// the same.
func fileFunction(dir string, note func(string)) function.Function {
	type content struct {
		text string
		err  error
	}
	seen := make(map[string]content)
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			c, ok := seen[path]
			if !ok {
				c.text, c.err = readSmall(inDir(dir, path))
				seen[path] = c
			}
			if c.err != nil {
				return cty.NilVal, function.NewArgError(0, c.err)
			}
			note(c.text)
			return cty.StringVal(c.text).Mark(origin(fmt.Sprintf("file(%s)", quote(path)))), nil
		},
	})
}

func readSmall(path string) (string, error) {
	// Opening a pipe would wait for a writer, so the kind is asked first.
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIncluded+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > maxIncluded:
		return "", fmt.Errorf("it is larger than %d bytes", maxIncluded)
	case !utf8.Valid(data):
		return "", errors.New("it is not UTF-8 text")
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// inDir returns path, seen from dir if it is relative.
func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
