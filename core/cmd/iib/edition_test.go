package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edition is what a program differs in that a test builds from the source as it is
// shipped: files that the compiler reads in the place of others, or beside them.
type edition struct {
	t       *testing.T
	dir     string
	replace map[string]string
}

func newEdition(t *testing.T) *edition {
	t.Helper()
	return &edition{t: t, dir: t.TempDir(), replace: make(map[string]string)}
}

// add puts a file in the place of one of the source, which need not exist.
func (e *edition) add(path, file string) {
	e.t.Helper()
	path, err := filepath.Abs(path)
	if err == nil {
		file, err = filepath.Abs(file)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.replace[path] = file
}

// write is add with the text of the file.
func (e *edition) write(path, text string) {
	e.t.Helper()
	file := filepath.Join(e.dir, fmt.Sprintf("%d-%s", len(e.replace), filepath.Base(path)))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
	e.add(path, file)
}

// edit replaces texts of a file, all of which must be there.
func (e *edition) edit(path string, oldnew ...string) {
	e.t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(string(source), oldnew[i]) {
			e.t.Fatalf("%s does not look as it is expected to: it lacks\n%s", path, oldnew[i])
		}
	}
	e.write(path, strings.NewReplacer(oldnew...).Replace(string(source)))
}

// build builds packages as make build does it.
func (e *edition) build(out string, packages ...string) {
	e.t.Helper()
	list, err := json.Marshal(map[string]map[string]string{"Replace": e.replace})
	if err != nil {
		e.t.Fatal(err)
	}
	file := filepath.Join(e.dir, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		e.t.Fatal(err)
	}
	c := exec.Command("go", append([]string{"build", "-ldflags=-s -w", "-overlay", file, "-o", out}, packages...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if printed, err := c.CombinedOutput(); err != nil {
		e.t.Fatalf("build with an overlay: %v\n%s", err, printed)
	}
}
