package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// CheckFiles looks at the files that the configuration names: that they are
// there, and that the plugins are what their checksums say. It does not
// replace the roster's own check of the very file that it executes.
func (c *Config) CheckFiles() Diagnostics {
	found := c.CheckNamedFiles()
	for _, p := range c.Plugins {
		if p.Enabled {
			found = append(found, c.CheckProgram(p)...)
		}
	}
	return found.Sorted()
}

// CheckNamedFiles is the part of CheckFiles that is not about plugins.
func (c *Config) CheckNamedFiles() Diagnostics {
	r := &reporter{source: c.source}
	for _, f := range c.namedFiles() {
		if err := readable(f.path); err != nil {
			r.errorf(f.at, "Missing file", "The file %s cannot be used: %v. Make it, or correct %s.", f.shown, err, f.setting)
		}
	}
	return r.found.Sorted()
}

// CheckProgram is the part of CheckFiles that is about one plugin.
func (c *Config) CheckProgram(p *Plugin) Diagnostics {
	r := &reporter{source: c.source}
	c.checkBinary(p, r)
	return r.found.Sorted()
}

func (c *Config) checkBinary(p *Plugin, r *reporter) {
	at, file, name := p.node.at("path"), p.node.shown("path", p.Path), quote(p.Name)
	info, err := os.Stat(p.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.errorf(at, "Missing plugin file", "The plugin %s has no file %s.%s Build or install it, or correct its path.",
			name, file, suggestFile(p, c.Server.PluginDir))
		return
	case err != nil:
		r.errorf(at, "Missing plugin file", "The file %s of the plugin %s cannot be used: %v. Correct its path or its permissions.",
			file, name, reason(err))
		return
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		r.errorf(at, "Unusable plugin file", "The file %s of the plugin %s is not a program. Correct the path, or make it executable.",
			file, name)
		return
	case info.Mode().Perm()&0o022 != 0:
		r.warnf(at, "Writable plugin file",
			"Others than its owner can change the file %s, and so what the engine runs. Take the write permission away.", file)
	}
	if p.Checksum == "" {
		return
	}
	sum, err := checksum(p.Path)
	switch {
	case err != nil:
		r.errorf(at, "Unusable plugin file", "The file %s of the plugin %s cannot be read: %v. Correct its permissions.",
			file, name, reason(err))
	case sum != p.Checksum:
		r.errorf(p.node.at("checksum"), "Wrong checksum",
			"The file %s of the plugin %s has the checksum %s. If you trust the file, write that.", file, name, quote(sum))
	}
}

// suggestFile proposes a file of the plugin directory.
func suggestFile(p *Plugin, dir string) string {
	if s := p.node.settings["path"]; s != nil && s.secret() {
		return ""
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return didYouMean(filepath.Base(p.Path), names)
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// namedFile is a file that a setting other than a plugin's path names.
type namedFile struct {
	setting string
	path    string
	shown   string
	at      hcl.Range
}

func (c *Config) namedFiles() []namedFile {
	var files []namedFile
	add := func(n *node, name, path string) {
		if path != "" {
			files = append(files, namedFile{setting: name, path: path, shown: n.shown(name, path), at: n.at(name)})
		}
	}
	if tls := c.Server.TLS; tls != nil {
		n := c.root.one("server").one("tls")
		add(n, "cert_file", tls.CertFile)
		add(n, "key_file", tls.KeyFile)
	}
	for _, n := range c.root.all("identity") {
		switch {
		case n.labels[0] == "kerberos":
			add(n, "keytab", c.Identity.Kerberos.Keytab)
		case n.labels[0] == "tokens":
			add(n, "file", c.Identity.Tokens.File)
		}
	}
	if !c.Secrets.MakeKey {
		add(c.root.one("secrets"), "key_file", c.Secrets.KeyFile)
	}
	registry := c.root.one("registry")
	add(registry, "auth_file", c.Registry.AuthFile)
	for _, file := range c.Registry.CAFiles {
		add(registry, "ca_files", file)
	}
	if s3 := c.Artifacts.S3; s3 != nil {
		add(c.root.one("artifacts").one("s3"), "ca_file", s3.CAFile)
	}
	for i, n := range registry.all("quay") {
		add(n, "token_file", c.Registry.Quays[i].TokenFile)
	}
	return files
}

func readable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return reason(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	return f.Close()
}

// reason returns an error without the path that the message has already.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return errors.New(strings.TrimSuffix(fmt.Sprint(at.Err), "."))
	}
	return err
}
