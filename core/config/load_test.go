package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestFileThatCannotBeReadIsADiagnostic(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.hcl")
	if err := os.WriteFile(large, make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "absent.hcl"): "Missing file",
		dir:                              "Unreadable file",
		large:                            "File too large",
	} {
		c, found := Load(path, noEnv)
		if c != nil || len(found) != 1 || found[0].Summary != want || found[0].Range.File != path {
			t.Errorf("%s: %v, want %s", path, found, want)
		}
	}
}

func TestWorkingDirectoryThatIsGoneIsADiagnostic(t *testing.T) {
	text, err := os.ReadFile("../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	r := &reporter{source: source{file: "iib.hcl"}}
	parse(r, text, noEnv)
	if len(r.found) != 1 || r.found[0].Summary != "Unknown directory" {
		t.Errorf("findings: %v", r.found)
	}
}

func TestByteOrderMarkIsSkipped(t *testing.T) {
	mustLoad(t, "\ufeffserver {}\n", nil)
}

func TestHostileFilesAreRefusedInBoundedTimeAndStack(t *testing.T) {
	// Enough to meet each limit. What is not limited takes time in proportion,
	// and is kept short for the sake of the race detector.
	const most, few = maxFile / 8, maxFile / 64
	summaries := map[string]string{
		"lists": "Too complex", "objects": "Too complex", "blocks": "Too complex", "templates": "Too complex",
		"negations": "Too complex", "sums": "Too complex", "conditions": "Too complex", "indexes": "Too complex",
		"heredocs": "Too complex", "null bytes": "Not a text file", "no UTF-8": "Not a text file",
		"one long name": "Misplaced text",
	}
	repeat := func(s string) string { return strings.Repeat(s, most/len(s)) }
	some := func(s string) string { return strings.Repeat(s, few/len(s)) }
	for name, text := range map[string]string{
		"lists":              "a = " + repeat("["),
		"objects":            "a = " + repeat("{a="),
		"parentheses":        "a = " + repeat("("),
		"blocks":             repeat("a {\n"),
		"calls":              "a = " + repeat("f("),
		"templates":          "a = " + repeat(`"${`),
		"conditions in text": `a = "` + repeat("%{ if true }") + `"`,
		"negations":          "a = " + repeat("!"),
		"minus signs":        "a = " + repeat("- "),
		"conditions":         "a = true" + repeat(" ? 1 : true"),
		"sums":               "a = 1" + repeat(" + 1"),
		"products":           "a = 1" + repeat(" * 1"),
		"comparisons":        "a = 1" + repeat(" == 1"),
		"indexes":            "a = local.a" + repeat("[x]"),
		"splats":             "a = local.a" + some("[*]"),
		"traversals":         "a = local" + some(".a"),
		"closing brackets":   "a = " + some("]"),
		"quotes":             some("\"\n"),
		"unfinished labels":  some("plugin \"a\n"),
		"heredocs":           repeat("a = <<X\n"),
		"null bytes":         repeat("\x00"),
		"no UTF-8":           repeat("\xff"),
		"one long name":      some("a"),
		"one long text":      `a = "` + repeat("a") + `"`,
		"wrong settings":     "server {\n" + some("listem = 1\n") + "}",
	} {
		t.Run(name, func(t *testing.T) {
			c, found := Load(write(t, text), noEnv)
			if c != nil || !found.HasErrors() {
				t.Error("the file was accepted")
			}
			if want := summaries[name]; want != "" && found[0].Summary != want {
				t.Errorf("findings: %v, want %s", found, want)
			}
		})
	}
}

func TestThousandsOfWrongNamesAreReportedInBoundedTime(t *testing.T) {
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, "queue \"queue-number-%d\" {}\n", i)
		fmt.Fprintf(&b, "user \"u%d\" { queue = \"queue-numbre-%d\" }\n", i, i)
	}
	_, found := Load(write(t, b.String()), noEnv)
	if len(found) != maxFindings+1 {
		t.Fatalf("%d findings, want %d", len(found), maxFindings+1)
	}
	last := found[maxFindings]
	if want := "There are 400 more. Correct these first."; last.Detail != want {
		t.Errorf("the last finding is %v", last)
	}
}

// canary is a secret that must not be seen anywhere.
const canary = "canary-6f1c0a"

// canaries are values that have it in them.
var canaries = []string{canary, "say \"" + canary + "\"\nand\tmore  of it\\", "https://u:" + canary + "@h/?q"}

// everySetting calls visit with a file in which one setting of the language has
// the value, for every setting there is.
func everySetting(value string, visit func(name, text string)) {
	var walk func(path string, before, after string, b *Block)
	walk = func(path, before, after string, b *Block) {
		for _, a := range b.Attributes {
			visit(path+a.Name, before+a.Name+" = "+value+"\n"+after)
		}
		for i := range b.Blocks {
			inner := &b.Blocks[i]
			head := inner.Name
			variants := []Block{{Schema: inner.Schema}}
			if inner.variants != nil {
				variants = inner.variants
			}
			for _, v := range variants {
				labels := ""
				if len(inner.Labels) > 0 {
					labels = ` "x"`
				}
				if v.Name != "" {
					labels = fmt.Sprintf(" %q", v.Name)
				}
				walk(path+head+labels+".", before+head+labels+" {\n", "}\n"+after, &Block{Schema: v.Schema})
			}
		}
	}
	walk("", "", "", &language)
}

func TestValueFromTheEnvironmentIsInNoDiagnostic(t *testing.T) {
	expressions := []string{
		`env("SECRET")`, `[env("SECRET")]`, `{ a = env("SECRET") }`, `{ (env("SECRET")) = "a" }`,
		`"x${env("SECRET")}y"`, `upper(env("SECRET")) == "" ? 1 : env("SECRET")`, `[for x in [env("SECRET")] : x]`,
		`{ for x in [env("SECRET")] : x => x... }`, `lower(env("SECRET"))`, `"/${env("SECRET")}/"`, `"redis://${env("SECRET")}/x y"`,
	}
	for name := range newScope(newOutside(".", noEnv)).functions {
		expressions = append(expressions,
			fmt.Sprintf(`%s(env("SECRET"))`, name),
			fmt.Sprintf(`%s(env("SECRET"), env("SECRET"))`, name),
			fmt.Sprintf(`%s([env("SECRET")], env("SECRET"))`, name),
			fmt.Sprintf(`%s({ (env("SECRET")) = env("SECRET") }, 1)`, name),
			fmt.Sprintf(`%s(env("SECRET"), 1, true, null)`, name))
	}
	expressions = append(expressions,
		`local.map[env("SECRET")]`, `local.list[env("SECRET")]`, `env("SECRET") + 1`, `!env("SECRET")`, `-env("SECRET")`,
		`env("SECRET").a`, `env("SECRET")[0]`, `env("SECRET")[*].a`, `env("SECRET") ? 1 : 2`, `"%{ for x in env("SECRET") }${x}%{ endfor }"`)
	slices.Sort(expressions)
	calls := 0
	check := func(name, text string) {
		secret := canaries[calls%len(canaries)]
		calls++
		r := &reporter{source: source{file: "/etc/iib/iib.hcl"}}
		c := parse(r, []byte("locals {\n  map = { a = 1 }\n  list = [1]\n}\n"+text), fromMap(map[string]string{"SECRET": secret}))
		found := r.found
		if c != nil {
			found = append(found, c.CheckFiles()...)
			for _, p := range c.Plugins {
				_, more := p.Values(everyType)
				found = append(found, more...)
			}
			if shown := string(c.Show()); strings.Contains(shown, canary) && strings.Contains(name, "config") {
				t.Errorf("%s: the value is shown:\n%s\n%s", name, text, shown)
			}
		}
		var b strings.Builder
		if err := found.WriteTerminal(&b, true); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(b.String()+fmt.Sprint(found)), canary) {
			t.Errorf("%s: the value is in a diagnostic of\n%s\n%v", name, text, found)
		}
	}
	for i, value := range expressions {
		// All with all would be ten thousand files, and tell no more.
		everySetting(value, func(name, text string) {
			if i++; i%12 == 0 {
				check(name, text)
			}
		})
		for _, a := range everyType.Attributes {
			check("config "+a.Name, gate("    "+a.Name+" = "+value))
		}
	}
}

func TestFileFunctionReadsSmallTextOnly(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"key": "s3cret\r\n", "twice": "a\n\n", "empty": "", "binary": "\xff\xfe", "large": strings.Repeat("x", maxIncluded+1),
		"full": strings.Repeat("x", maxIncluded),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "iib.hcl")
	for name, want := range map[string]string{
		"key": "s3cret", "twice": "a\n", "empty": "", "full": strings.Repeat("x", maxIncluded), dir + "/key": "s3cret",
	} {
		text := fmt.Sprintf("plugin \"p\" {\n  kind = \"gate\"\n  config { url = file(%q) }\n}\n", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, found := Load(path, noEnv)
		if len(found) > 0 {
			t.Fatal(found)
		}
		data, found := c.Plugin("p").Values(Schema{Attributes: []Attribute{{Name: "url", Type: String}}})
		if got := decodeJSON(t, data).(map[string]any)["url"]; got != want || len(found) > 0 {
			t.Errorf("%s is read as %q, %v", name, got, found)
		}
	}
	for _, name := range []string{"absent", "binary", "large", ".", "\\u0000"} {
		text := fmt.Sprintf("secrets { key = file(\"%s\") }\n", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, found := Load(path, noEnv); len(found) != 1 || found[0].Summary != "Invalid function argument" {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestConfigurationStaysAsItWasRead(t *testing.T) {
	dir := t.TempDir()
	path, key := filepath.Join(dir, "iib.hcl"), filepath.Join(dir, "key")
	text := gate("    url = \"${env(\"NAME\")} ${file(\"key\")}\"")
	for name, content := range map[string]string{path: text, key: "one"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"NAME": "one"}
	c, found := Load(path, fromMap(env))
	if len(found) > 0 {
		t.Fatal(found)
	}
	env["NAME"] = "two"
	if err := os.WriteFile(key, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 { // the race detector looks on
		all.Go(func() {
			data, found := c.Plugin("gate").Values(everyType)
			if string(data) != `{"url":"one one"}` || len(found) > 0 {
				t.Errorf("values %s, findings %v", data, found)
			}
			c.Plugin("gate").Rejected("url", "no")
			c.Show()
		})
	}
	all.Wait()
}

func TestEnvironmentIsAskedForNothingElse(t *testing.T) {
	asked := make(map[string]bool)
	env := func(name string) (string, bool) {
		asked[name] = true
		return "", false
	}
	if _, found := Load(write(t, `redis { url = env("MINE") }`), env); len(found) > 0 {
		t.Fatal(found)
	}
	got := slices.Sorted(maps.Keys(asked))
	if want := []string{"IIB_DATA_DIR", "IIB_LISTEN", "MINE"}; !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.hcl", "../../iib.hcl"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &reporter{source: source{file: "iib.hcl"}}
		c := parse(r, text, func(name string) (string, bool) { return canary, len(name)%2 == 0 })
		found := r.found.Sorted()
		if c == nil && !found.HasErrors() {
			t.Error("there is no configuration, and no reason why")
		}
		var b strings.Builder
		if err := found.WriteTerminal(&b, false); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), canary) && !strings.Contains(string(text), "canary") {
			t.Errorf("a value from the environment is in a diagnostic: %s", b.String())
		}
		if c == nil || found.HasErrors() {
			return
		}
		c.Show()
		if change := Diff(c, c); !change.Empty() {
			t.Errorf("a configuration differs from itself: %+v", change)
		}
		for _, p := range c.Plugins {
			data, wrong := p.Values(everyType)
			if (data == nil) != wrong.HasErrors() {
				t.Errorf("values %s despite %v", data, wrong)
			}
			p.FieldRange(string(text))
		}
	})
}
