package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const manual = "../../docs/configuration.md"

func TestManualHasTheReferenceOfThisProgram(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- reference: begin -->\n", "<!-- reference: end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the manual has no place for the reference")
	}
	golden(t, manual, []byte(before+begin+"\n"+Reference()+"\n"+end+after))
}

func TestManualNamesEveryFunction(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	for name := range newScope(newOutside(".", noEnv)).functions {
		if !strings.Contains(string(text), "`"+name+"(") {
			t.Errorf("the manual does not mention the function %s", name)
		}
	}
}

func TestEveryExampleInTheManualIsRight(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 5 {
		t.Fatalf("the manual has only %d examples", len(examples))
	}
	env := map[string]string{
		"IIB_DATABASE_URL": "postgres://iib@db.example.com/iib",
		"IIB_REDIS_URL":    "redis://redis.example.com:6379/0",
	}
	for _, example := range examples {
		if _, found := Load(write(t, example[1]), fromMap(env)); len(found) > 0 {
			t.Errorf("the example\n%s\nhas findings:\n%v", example[1], found)
		}
	}
}

func TestDiagnosticInTheManualIsTheOneThatIsShown(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, strings.Repeat("\n", 11)+`user "jane" { queue = "defualt" }`+"\n")
	_, found := Load(path, noEnv)
	var shown strings.Builder
	if err := found.WriteTerminal(&shown, false); err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(shown.String(), path, "iib.hcl"); !strings.Contains(string(text), want) {
		t.Errorf("the manual does not have this:\n%s", want)
	}
}

func TestShippedConfigurationRunsWithNothingInstalled(t *testing.T) {
	c, found := Load("../../iib.hcl", noEnv)
	if len(found) > 0 {
		t.Fatal(found)
	}
	if c.Server.Listen != "127.0.0.1:8080" || !c.Identity.Anonymous {
		t.Errorf("it listens on %s, with the identity %+v", c.Server.Listen, c.Identity)
	}
	if url := c.Database.URL.Reveal(); url != "sqlite:"+filepath.Join(c.Server.DataDir, "iib.db") || c.Redis.URL != "" {
		t.Errorf("the database is %s, and the Redis is not the built-in one", url)
	}
	if c.Plugin("index-add") == nil || c.Build.Builder != "image-builder" {
		t.Error("nothing can be added and built")
	}
	mounted := make(map[string]bool)
	for _, p := range c.Plugins {
		if _, err := os.Stat(filepath.Join("../../plugins", filepath.Base(p.Path), "main.go")); err != nil {
			t.Errorf("the plugin %s is none of this repository: %v", p.Name, err)
		}
		for _, m := range p.Mounts {
			mounted[m] = true
		}
	}
	if !mounted["/v2/"] {
		t.Error("there is no registry to push to")
	}
}

func TestShippedConfigurationTakesDatabaseAndRedisFromTheEnvironment(t *testing.T) {
	c, found := Load("../../iib.hcl", fromMap(map[string]string{
		"IIB_DATABASE_URL": "postgres://iib@db.example.com/iib",
		"IIB_REDIS_URL":    "redis://redis.example.com:6379/0",
	}))
	if len(found) > 0 {
		t.Fatal(found)
	}
	if got, want := c.Database.URL.Reveal(), "postgres://iib@db.example.com/iib"; got != want {
		t.Errorf("the database is %s, want %s", got, want)
	}
	if got, want := c.Redis.URL.Reveal(), "redis://redis.example.com:6379/0"; got != want {
		t.Errorf("the Redis is %s, want %s", got, want)
	}
}
