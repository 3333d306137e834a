package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cli runs the program as its user does, against the server.
func (p *process) cli(arguments ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	command := exec.Command(filepath.Join(p.bin, "iib"), arguments...)
	command.Env = append(os.Environ(), "IIB_SERVER="+p.url, "IIB_DATA_DIR="+p.dataDir)
	command.Env = append(command.Env, p.env...)
	var out, faults bytes.Buffer
	command.Stdout, command.Stderr = &out, &faults
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return out.String(), faults.String(), command.ProcessState.ExitCode()
}

// want runs a command and demands its exit code and words of what it prints.
func (p *process) want(code int, words []string, arguments ...string) string {
	p.t.Helper()
	stdout, stderr, got := p.cli(arguments...)
	if got != code {
		p.t.Errorf("iib %s: exit code %d, want %d\n%s%s", strings.Join(arguments, " "), got, code, stdout, stderr)
	}
	for _, word := range words {
		if !strings.Contains(stdout+stderr, word) {
			p.t.Errorf("iib %s does not tell %q:\n%s%s", strings.Join(arguments, " "), word, stdout, stderr)
		}
	}
	return stdout
}

func TestCommandLine(t *testing.T) {
	r := newReleases(t, startServer(t, ""))
	index := r.emptyIndex("index:v4.14", fileBased, false)
	specs, _ := r.bundles(1, 1)
	add := fmt.Sprintf(`{"bundles": [%q], "from_index": %q, "binary_image": %q}`, specs[0], index, r.base)
	r.want(exitOK, []string{"complete", "The bundles were added"}, "submit", "add", add, "--wait")
	r.want(exitOK, []string{"complete"}, "get", "1")
	r.want(exitOK, []string{`"state": "complete"`}, "get", "1", "--output", "json")
	r.want(exitOK, []string{"add", "complete"}, "list")
	r.want(exitOK, []string{"plugin index-add"}, "logs", "1")
	r.want(exitFailed, []string{"failed", "not found"}, "submit", "add", strings.Replace(add, specs[0], specs[0]+"x", 1), "--wait")
	r.want(exitFailed, []string{"failed"}, "wait", "2")
	r.want(exitFault, []string{"bundlez"}, "submit", "add", strings.Replace(add, "{", `{"bundlez": [], `, 1))
	r.want(exitFault, []string{"not found"}, "get", "99")
	r.want(exitUsage, []string{"not JSON"}, "submit", "add", "{")
	r.want(exitUsage, []string{"not a request's ID"}, "get", "one")
	r.want(exitUsage, []string{"--nonsense"}, "list", "--nonsense")
	if _, stderr, code := r.cli("list", "--server", "http://127.0.0.1:1"); code != exitFault || !strings.Contains(stderr, "does not answer") {
		t.Errorf("a server that is not there: %d %s", code, stderr)
	}
}

func TestReloadTogglesAPlugin(t *testing.T) {
	p := startServer(t, "")
	p.want(exitOK, []string{"index-rm", "running"}, "plugin", "list")
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	const enabled = "plugin \"index-rm\" {\n"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(string(config), enabled, enabled+"  enabled = false\n", 1))
	p.want(exitOK, []string{"reads"}, "plugin", "reload", "--config", p.config)
	for range poll(t) {
		if out, _, _ := p.cli("plugin", "list"); !strings.Contains(out, "index-rm") {
			break
		}
	}
	if status, _ := p.post("/api/v1/builds/rm", `{}`); status != 404 {
		t.Errorf("a request type that nobody handles is answered %d", status)
	}
	write(strings.Replace(string(config), enabled, enabled+"  enabeld = false\n", 1))
	p.want(exitFault, []string{`"enabled"`, "iib.hcl:"}, "plugin", "reload", "--config", p.config)
	write(string(config))
	p.want(exitOK, []string{"reads"}, "plugin", "reload", "--config", p.config)
	for range poll(t) {
		if out, _, _ := p.cli("plugin", "list"); strings.Contains(out, "index-rm") {
			break
		}
	}
	p.stop()
	p.want(exitFault, []string{"no engine runs here"}, "plugin", "reload", "--config", p.config)
}
