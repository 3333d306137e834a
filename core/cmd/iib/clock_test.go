package main

import (
	"encoding/binary"
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
	e := newEdition(t)
	const reading = "sec, nsec, mono := runtimeNow()\n"
	e.edit(filepath.Join(standard, "time.go"), reading, reading+"\tsec += *wallClock\n")
	e.add(filepath.Join(standard, "clock.go"), "testdata/clock/clock.go.txt")
	mains, err := filepath.Glob("../../../plugins/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var plugins []string
	for _, main := range mains {
		plugins = append(plugins, filepath.Dir(main))
	}
	dir := t.TempDir()
	e.build(filepath.Join(dir, "iib"), ".")
	e.build(filepath.Join(dir, "plugins")+"/", plugins...)
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
