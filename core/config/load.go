package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Load reads the configuration in the file at path. The environment is what
// env says it is; usually it is os.LookupEnv. Beside the settings that ask for
// it, IIB_LISTEN and IIB_DATA_DIR win over server.listen and server.data_dir.
//
// All mistakes are reported at once. If there are errors the Config is nil;
// with warnings alone it is not.
func Load(path string, env func(string) (string, bool)) (*Config, Diagnostics) {
	r := &reporter{source: source{file: path}}
	text, err := readFile(path)
	if err != nil {
		summary, detail := fileTrouble(err)
		r.fail(path, summary, "%s", detail)
		return nil, r.found
	}
	c := parse(r, text, env)
	found := r.found.Sorted()
	if found.HasErrors() {
		return nil, found.capped()
	}
	return c, found
}

var errTooLarge = errors.New("file too large")

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errTooLarge
	}
	return text, err
}

func fileTrouble(err error) (summary, detail string) {
	switch {
	case errors.Is(err, errTooLarge):
		return "File too large", "A configuration has at most 1 MiB. Is this the right file?"
	case errors.Is(err, fs.ErrNotExist):
		return "Missing file", "There is no such file. Name an existing one."
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return "Unreadable file", "The file cannot be read: " + err.Error() + "."
}

// parse reads a configuration and reports all mistakes to r.
func parse(r *reporter, text []byte, env func(string) (string, bool)) *Config {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	r.text = string(text)
	if !r.checkText(text) || !r.checkBounds(text) {
		return nil
	}
	body := r.parseBody(text)
	if len(r.found) > maxFindings {
		return nil
	}
	where := r.place(env)
	r.outside = newOutside(where.dir, env)
	d := &decoder{reporter: r, scope: newScope(r.outside)}
	var locals []*hclsyntax.Block
	for _, b := range body.Blocks {
		if b.Type == localsBlock.Name {
			locals = append(locals, b)
		}
	}
	syntax := r.found
	d.scope.define(locals, r)
	root := d.decode(body, &node{block: &language, header: hcl.Range{Start: hcl.InitialPos, End: hcl.InitialPos}})
	c := d.config(root, where)
	if syntax.HasErrors() {
		r.found = append(syntax, elsewhere(r.found[len(syntax):], syntax, body)...)
		return nil
	}
	d.check(root, c)
	return c
}

// place finds out what the configuration depends on besides its text.
func (r *reporter) place(env func(string) (string, bool)) place {
	var p place
	absolute := func(path string) string {
		a, err := filepath.Abs(path)
		if err != nil {
			r.fail(r.file, "Unknown directory", "The working directory cannot be found: %v. Use absolute paths.", err)
			return path
		}
		return a
	}
	p.dir = filepath.Dir(absolute(r.file))
	if program, err := os.Executable(); err == nil {
		p.plugins = filepath.Join(filepath.Dir(program), "plugins")
	} else {
		p.plugins = filepath.Join(p.dir, "plugins")
	}
	if listen, _ := env("IIB_LISTEN"); listen != "" {
		if err := addressForm.check(listen); err != nil {
			r.fail("IIB_LISTEN", addressForm.summary(), "The environment variable IIB_LISTEN is not %s. %s",
				addressForm.is, addressForm.advice)
		}
		p.listen = listen
	}
	if dir, _ := env("IIB_DATA_DIR"); dir != "" {
		if strings.ContainsRune(dir, 0) {
			r.fail("IIB_DATA_DIR", pathForm.summary(), "The environment variable IIB_DATA_DIR is not a path. %s", pathForm.advice)
		}
		p.dataDir = absolute(dir)
	}
	return p
}
