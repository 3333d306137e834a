package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// eachAttribute calls visit for every setting of the language.
func eachAttribute(visit func(path string, a *Attribute)) {
	var walk func(path string, b *Block)
	walk = func(path string, b *Block) {
		for i := range b.Attributes {
			visit(path+b.Attributes[i].Name, &b.Attributes[i])
		}
		for i := range b.Blocks {
			walk(path+b.Blocks[i].Name+".", &b.Blocks[i])
		}
		for i := range b.variants {
			walk(path+b.variants[i].Name+".", &b.variants[i])
		}
	}
	walk("", &language)
}

func TestEverySettingIsExplainedInSentences(t *testing.T) {
	eachAttribute(func(path string, a *Attribute) {
		if a.Doc == "" || !strings.HasSuffix(a.Doc, ".") {
			t.Errorf("%s: the explanation %q is no sentence", path, a.Doc)
		}
	})
}

func TestEveryDefaultIsAllowed(t *testing.T) {
	eachAttribute(func(path string, a *Attribute) {
		if a.Default == "" {
			return
		}
		if a.Required {
			t.Errorf("%s is required and has a default", path)
		}
		optional := *a
		d := &decoder{reporter: &reporter{}, scope: newScope(newOutside(".", noEnv))}
		d.scope.define(nil, d.reporter)
		body := d.parseBody([]byte("x = " + a.Default + "\n"))
		if s := d.setting(body.Attributes["x"], &optional); s == nil {
			t.Errorf("%s: the default %s is refused: %v", path, a.Default, d.found)
		}
	})
}

// aValue is a right value of an attribute, other than its default, in a file
// with the blocks that it refers to.
func aValue(a *Attribute) string {
	switch a.Type {
	case Bool:
		return fmt.Sprint(a.Default != "true")
	case Int:
		return "3"
	}
	text := "other"
	switch {
	case a.refers == "queue":
		text = "q"
	case a.refers == "plugin":
		text = "b2"
	case len(a.oneOf) > 0:
		text = a.oneOf[len(a.oneOf)-1]
		if strconv.Quote(text) == a.Default {
			text = a.oneOf[0]
		}
	case a.form != nil:
		text = map[*form]string{
			durationForm: "5m", positiveForm: "5m", sizeForm: "7MiB", addressForm: "127.0.0.1:1", networkForm: "10.0.0.0/8",
			webForm: "https://example.com", databaseForm: "postgres://h/d", redisForm: "redis://h", pathForm: "some/path",
			checksumForm: "sha256:" + strings.Repeat("0", 64), mountForm: "/m/", variableForm: "V", headerForm: "X-H",
			principalForm: "HTTP/h@R", hostForm: "h:1", registryForm: "h/ns", pushForm: "{registry}/p:{request_id}",
			keyForm: strings.Repeat("00", 32), modeForm: "0640", bucketForm: "bucket", requestForm: "add",
		}[a.form]
	}
	quoted := strconv.Quote(text)
	switch a.Type {
	case List:
		return "[" + quoted + "]"
	case Map:
		return "{ " + quoted + " = " + quoted + " }"
	}
	return quoted
}

// TestEverySettingIsRead writes each setting in turn and expects the
// configuration to differ from the one without it.
func TestEverySettingIsRead(t *testing.T) {
	const others = `
queue "q" {}
plugin "b" { kind = "builder" }
plugin "c" { kind = "customizer" }
plugin "b2" { kind = "builder" }
`
	load := func(text string) *Config {
		r := &reporter{source: source{file: "iib.hcl"}}
		body := r.parseBody([]byte(text))
		d := &decoder{reporter: r, scope: newScope(newOutside(".", noEnv))}
		d.scope.define(nil, r)
		root := d.decode(body, &node{block: &language})
		return d.config(root, place{dir: "/etc", plugins: "/bin/plugins"})
	}
	var walk func(path, before, after string, b *Block)
	walk = func(path, before, after string, b *Block) {
		for i := range b.Attributes {
			a := &b.Attributes[i]
			without := load(others + before + after)
			with := load(others + before + a.Name + " = " + aValue(a) + "\n" + after)
			if d := Diff(without, with); d.Empty() {
				t.Errorf("%s%s is written, and nothing differs", path, a.Name)
			} else if a.restart && len(d.Restart) == 0 {
				t.Errorf("%s%s needs a restart, but the difference is %+v", path, a.Name, d)
			}
		}
		for i := range b.Blocks {
			inner := &b.Blocks[i]
			variants := []Block{{Schema: inner.Schema}}
			if inner.variants != nil {
				variants = inner.variants
			}
			for _, v := range variants {
				head := inner.Name
				switch {
				case v.Name != "":
					head += " " + strconv.Quote(v.Name)
				case inner.Name == "listener":
					head += ` "unix:/x"`
				case len(inner.Labels) > 0:
					head += ` "x"`
				}
				walk(path+head+".", before+head+" {\n", "}\n"+after, &Block{Schema: v.Schema})
			}
		}
	}
	walk("", "", "", &language)
}

// TestEverySummaryHasAFixture keeps the invalid files complete.
func TestEverySummaryHasAFixture(t *testing.T) {
	var tested strings.Builder
	for _, path := range append(files(t, "testdata/invalid/*.hcl"), files(t, "*_test.go")...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tested.Write(text)
	}
	set := token.NewFileSet()
	for _, path := range files(t, "*.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !regexp.MustCompile(`^(errorf|warnf|fail)$`).MatchString(method.Sel.Name) {
				return true
			}
			if summary, ok := call.Args[1].(*ast.BasicLit); ok {
				text, _ := strconv.Unquote(summary.Value)
				if !strings.Contains(tested.String(), text) {
					t.Errorf("%s: no test mentions %q", set.Position(summary.Pos()), text)
				}
			}
			return true
		})
	}
}
