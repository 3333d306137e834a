package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files and the reference in the docs")

// golden compares got with a file, or rewrites the file.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs; -update rewrites it (-want +got):\n%s", path, diff)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	return found
}

var envLine = regexp.MustCompile(`(?m)^# ENV: (\w+)=(.*?)\r?$`)

// fixtureEnv is the environment that a fixture's comments ask for.
func fixtureEnv(t *testing.T, path string) func(string) (string, bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env := make(map[string]string)
	for _, m := range envLine.FindAllStringSubmatch(string(text), -1) {
		value, _, _ := strings.Cut(m[2], " # ")
		env[m[1]] = value
	}
	return fromMap(env)
}

func fromMap(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// noEnv is an environment without variables.
var noEnv = fromMap(nil)

// portable replaces the directories of this machine and of this test's binary.
func portable(t *testing.T, data []byte) []byte {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte(filepath.Dir(program)), []byte("$BIN"))
	return bytes.ReplaceAll(data, []byte(here), []byte("$HERE"))
}

// write makes a file with the text and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "iib.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mustLoad loads a text that must be right.
func mustLoad(t *testing.T, text string, env map[string]string) *Config {
	t.Helper()
	c, found := Load(write(t, text), fromMap(env))
	if found.HasErrors() {
		t.Fatal(found.Err())
	}
	return c
}

func TestValidFilesLoadAsTheirGoldenFilesSay(t *testing.T) {
	for _, path := range files(t, "testdata/valid/*.hcl") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, found := Load(path, fixtureEnv(t, path))
			if len(found) > 0 {
				t.Fatalf("findings in a right file:\n%v", found)
			}
			shown := c.Show()
			if bytes.Contains(shown, []byte("hunter2")) {
				t.Error("a secret is shown")
			}
			golden(t, strings.TrimSuffix(path, ".hcl")+".json", portable(t, shown))
		})
	}
}

var expectation = regexp.MustCompile(`# (ERROR|WARNING): ([^#\n]+)`)

// expected reads the findings that the comments of a fixture announce, as
// line: severity: summary.
func expected(text string) []string {
	var want []string
	for i, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "# IIB_LISTEN: ERROR: "); ok {
			want = append(want, "IIB_LISTEN ERROR "+rest)
			continue
		}
		for _, m := range expectation.FindAllStringSubmatch(line, -1) {
			want = append(want, strings.TrimSpace(lineNumber(i+1)+" "+m[1]+" "+m[2]))
		}
	}
	return want
}

func TestEveryMistakeOfAnInvalidFileIsReportedOnItsLine(t *testing.T) {
	for _, path := range files(t, "testdata/invalid/*.hcl") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, found := Load(path, fixtureEnv(t, path))
			if found.HasErrors() != (c == nil) {
				t.Errorf("errors: %v, but the configuration is %v", found.HasErrors(), c)
			}
			var got []string
			for _, d := range found {
				severity := map[Severity]string{Error: "ERROR", Warning: "WARNING"}[d.Severity]
				where := lineNumber(d.Range.Line)
				if d.Range.Line == 0 {
					where = d.Range.File
				}
				got = append(got, where+" "+severity+" "+d.Summary)
			}
			if diff := cmp.Diff(sortedCopy(expected(string(text))), sortedCopy(got)); diff != "" {
				t.Errorf("findings differ from the comments (-want +got):\n%s\n%v", diff, found)
			}
			// The exact words and columns are for a reader of the golden file.
			var log bytes.Buffer
			if err := found.WriteLog(&log); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(log.String(), "canary") {
				t.Error("a value from the environment is in a message")
			}
			golden(t, strings.TrimSuffix(path, ".hcl")+".txt", portable(t, log.Bytes()))
		})
	}
}

func lineNumber(n int) string { return fmt.Sprintf("%03d", n) }

func sortedCopy(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
