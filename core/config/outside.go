package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// outside is the environment and the files that a configuration asks for. Each
// is looked at once, so that whoever asks later sees the same. It is safe for
// concurrent use.
type outside struct {
	dir string // relative paths are seen from it
	env func(string) (string, bool)

	mu        sync.Mutex
	variables map[string]variable
	files     map[string]content
}

type variable struct {
	value string
	set   bool
}

type content struct {
	text string
	err  error
}

func newOutside(dir string, env func(string) (string, bool)) *outside {
	return &outside{dir: dir, env: env, variables: make(map[string]variable), files: make(map[string]content)}
}

// variable returns an environment variable.
func (o *outside) variable(name string) (value string, set bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.variables[name]
	if !ok {
		v.value, v.set = o.env(name)
		o.variables[name] = v
	}
	return v.value, v.set
}

// file returns the text of a small file.
func (o *outside) file(path string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.files[path]
	if !ok {
		c.text, c.err = readSmall(inDir(o.dir, path))
		o.files[path] = c
	}
	return c.text, c.err
}

// redact removes what came from outside: HCL itself words some errors, and a
// plugin others, and either might quote a value. Very short ones are left: they
// are switches such as "on", and would tear words apart.
func (o *outside) redact(text string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	remove := func(value string) {
		if len(value) < 4 {
			return
		}
		text = strings.ReplaceAll(text, value, masked)
		text = strings.ReplaceAll(text, strings.Trim(strconv.Quote(value), `"`), masked)
	}
	for _, v := range o.variables {
		remove(v.value)
	}
	for _, c := range o.files {
		remove(c.text)
	}
	return text
}

// maxIncluded is the size in bytes of what file() may read. It is meant for
// passwords and keys.
const maxIncluded = 64 << 10

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
