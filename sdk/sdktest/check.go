package sdktest

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// optional are the methods that are called if a value has them: nothing but
// their signature tells them from others of the same name.
var optional = []struct {
	method string
	want   reflect.Type
	of     func(*sdk.Plugin) []any
}{
	{"Validate", reflect.TypeFor[sdk.Validator](), values},
	{"Start", reflect.TypeFor[sdk.Starter](), values},
	{"Close", reflect.TypeFor[sdk.Closer](), values},
	{"Accept", reflect.TypeFor[sdk.Acceptor](), handlers},
	{"Describe", reflect.TypeFor[sdk.Describer](), handlers},
}

func values(p *sdk.Plugin) []any {
	all := append(handlers(p), p.Config, p.Gate, p.Notifier, p.Builder, p.Service)
	for _, c := range p.Customizers {
		all = append(all, c)
	}
	return all
}

func handlers(p *sdk.Plugin) []any {
	var all []any
	for _, h := range p.Handlers {
		all = append(all, h)
	}
	return all
}

// checkMethods fails for a method that would never be called.
func checkMethods(t testing.TB, p *sdk.Plugin) {
	t.Helper()
	for _, o := range optional {
		for _, v := range o.of(p) {
			if v == nil {
				continue
			}
			m, has := reflect.TypeOf(v).MethodByName(o.method)
			if has && !reflect.TypeOf(v).Implements(o.want) {
				t.Errorf("%T.%s would never be called: its signature is not that of sdk.%s but %s",
					v, o.method, o.want.Name(), signature(m.Type))
			}
		}
	}
}

// signature returns a method's type without its receiver.
func signature(m reflect.Type) string {
	in := make([]string, 0, m.NumIn())
	for i := 1; i < m.NumIn(); i++ {
		in = append(in, m.In(i).String())
	}
	out := make([]string, 0, m.NumOut())
	for i := range m.NumOut() {
		out = append(out, m.Out(i).String())
	}
	s := "func(" + strings.Join(in, ", ") + ")"
	switch len(out) {
	case 0:
		return s
	case 1:
		return s + " " + out[0]
	}
	return s + " (" + strings.Join(out, ", ") + ")"
}

// checkReadme fails for a setting that the README.md of the test's directory
// does not have in backquotes. A plugin without a README.md has nothing to keep
// in step.
func checkReadme(t testing.TB, d *pb.DescribeResponse) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	check := func(where string, s *pb.Schema) {
		for _, name := range settingNames(s) {
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("README.md says nothing of the setting `%s`%s", name, where)
			}
		}
	}
	check("", d.Schema)
	for _, c := range d.Customizers {
		check(" of customizer "+c.Name, c.Schema)
	}
}

func settingNames(s *pb.Schema) []string {
	var names []string
	for _, a := range s.GetAttributes() {
		names = append(names, a.Name)
	}
	for _, b := range s.GetBlocks() {
		names = append(names, b.Name)
		names = append(names, settingNames(b.Schema)...)
	}
	return names
}
