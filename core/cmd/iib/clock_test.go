package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// clockVariable tells a program of programsWithClocks where its clock is.
const clockVariable = "IIB_TEST_CLOCK"

// programsWithClocks builds the engine and its plugins with a wall clock that a
// test can set. Of what is shipped they differ in time.Now alone, which the
// compiler is given with an addition.
func programsWithClocks(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	standard := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(standard, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const reading = "sec, nsec, mono := runtimeNow()\n"
	changed := bytes.Replace(source, []byte(reading), []byte(reading+"\tsec += *wallClock\n"), 1)
	if bytes.Equal(changed, source) {
		t.Fatal("time.Now of this version of Go does not look as it is expected to")
	}
	dir := t.TempDir()
	addition, err := filepath.Abs(filepath.Join("testdata", "clock", "clock.go.txt"))
	if err != nil {
		t.Fatal(err)
	}
	edited := filepath.Join(dir, "time.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(standard, "time.go"):  edited,
		filepath.Join(standard, "clock.go"): addition,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{edited: changed, filepath.Join(dir, "overlay.json"): overlay} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mains, err := filepath.Glob("../../../plugins/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var plugins []string
	for _, main := range mains {
		plugins = append(plugins, filepath.Dir(main))
	}
	for _, build := range [][]string{
		{"-o", filepath.Join(dir, "iib"), "."},
		append([]string{"-o", filepath.Join(dir, "plugins") + "/"}, plugins...),
	} {
		c := exec.Command("go", append([]string{"build", "-ldflags=-s -w", "-overlay", filepath.Join(dir, "overlay.json")}, build...)...)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("build the programs with clocks: %v\n%s", err, out)
		}
	}
	return dir
}

// withClocks gives the plugins in a configuration the clock of their engine: a
// machine has one.
func withClocks(config string) string {
	config = regexp.MustCompile(`(?m)^(plugin "[^"]+" \{) (.+) \}$`).ReplaceAllString(config, "$1\n  $2\n}")
	return regexp.MustCompile(`(?m)^plugin "[^"]+" \{$`).ReplaceAllString(config, "$0\n  env = [\""+clockVariable+"\"]")
}

// machineClock is how far the wall clock of a program is ahead.
type machineClock struct {
	path  string
	ahead time.Duration
}

func newMachineClock(t *testing.T) *machineClock {
	t.Helper()
	c := &machineClock{path: filepath.Join(t.TempDir(), "clock")}
	if err := os.WriteFile(c.path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// set makes the clock jump to be so much ahead, in whole seconds.
func (c *machineClock) set(ahead time.Duration) string {
	file, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	var seconds [8]byte
	binary.NativeEndian.PutUint64(seconds[:], uint64(int64(ahead/time.Second)))
	if _, err := file.WriteAt(seconds[:], 0); err != nil {
		return err.Error()
	}
	jump := ahead - c.ahead
	c.ahead = ahead
	return fmt.Sprintf("jumps by %s", jump)
}
