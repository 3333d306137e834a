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

	"github.com/iib-engine/iib/sdk/image/imagetest"
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

// Each type of request has a verb of its own.
func TestVerbsSubmitRequests(t *testing.T) {
	t.Parallel()
	r := newReleases(t, startServer(t, ""))
	index, other := r.emptyIndex("index:v4.14", fileBased, false), r.emptyIndex("other:v4.14", fileBased, false)
	one, oneList := r.bundles(1, 2)
	two, _ := r.bundles(2, 1)
	operator := oneList[0].Package
	common := []string{"--binary-image", r.base, "--wait"}
	do := func(code int, words []string, arguments ...string) {
		t.Helper()
		r.want(code, words, append(arguments, common...)...)
	}
	do(exitOK, []string{"+ package " + operator, "+ bundle " + oneList[1].Name}, append([]string{"add", "--from-index", index, "--dry-run"}, one...)...)
	do(exitFailed, []string{"problem:", "gone:v1", "would fail"}, "add", r.registry()+"/release/gone:v1", "--from-index", index, "--dry-run")
	if found := r.contents(index); len(found) > 0 {
		t.Fatalf("a dry run added %v", found)
	}
	do(exitOK, []string{"complete"}, append([]string{"add", "--from-index", index, "--overwrite", "--tag", "extra"}, one...)...)
	if found := r.contents(index)[operator]; len(found) != 2 {
		t.Errorf("the index has %v", found)
	}
	do(exitOK, []string{"complete"}, "add", two[0], "--from-index", other, "--overwrite")
	do(exitOK, []string{"complete"}, "merge", other, "--into", index, "--scope", "prod")
	do(exitOK, []string{"complete"}, "create-empty", index, "--fbc", "--label", "a=b")
	r.want(exitOK, []string{"- package " + operator, "+ package"}, "diff", index, other)

	schema := filepath.Join(t.TempDir(), "deprecations.json")
	text := fmt.Sprintf(`{"schema": "olm.deprecations", "package": %q, "entries": [{"reference": {"schema": "olm.package"}, "message": "old"}]}`, operator)
	if err := os.WriteFile(schema, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	do(exitOK, []string{"complete"}, "deprecate", operator, "--schema", schema, "--from-index", index, "--overwrite")
	do(exitOK, []string{"complete"}, "rm", operator, "--from-index", index, "--overwrite")
	if found := r.contents(index); len(found) > 0 {
		t.Errorf("the index still has %v", found)
	}
	operand := r.push("operand:v1", imagetest.Image{})
	bundle := r.bundle("etcd:v1", operand)
	r.want(exitOK, []string{"complete"}, "regenerate", bundle, "--replace", operand+"="+operand, "--wait")
	r.want(exitOK, []string{"complete"}, "related", bundle, "--wait")

	r.want(exitUsage, []string{"--label", "= between"}, "create-empty", index, "--label", "a")
	r.want(exitUsage, []string{"--auth-file", "no such file"}, "regenerate", bundle, "--auth-file", "/nonexistent")
	r.want(exitFault, []string{"from_bundle_image"}, "regenerate", "not an image")
	r.want(exitOK, []string{"__start_iib"}, "completion", "bash")
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
