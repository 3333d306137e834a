package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newToken runs the program's own command for it.
func newToken(t *testing.T, user string) (token, line string) {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(bin, "iib"), "token", user)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), stderr.String()
}

func TestTokensLetUsersIn(t *testing.T) {
	token, line := newToken(t, "jane@EXAMPLE.COM")
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, shippedWithout(t, `identity "none" {}`)+`identity "tokens" { file = "`+file+"\" }\n", t.TempDir())
	const body = `{"operators": ["x"], "from_index": "registry.invalid/a/b:1", "binary_image": "registry.invalid/a/b:1"}`
	post := func(authorization string) (int, http.Header, string) {
		status, header, answer := p.do(http.MethodPost, "/api/v1/builds/rm", body, map[string]string{"Authorization": authorization})
		return status, header, string(answer)
	}
	for name, authorization := range map[string]string{"nobody": "", "a wrong token": "Bearer wrong", "another scheme": "Basic amFuZTp4"} {
		status, header, answer := post(authorization)
		if status != http.StatusUnauthorized || header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(answer, `"error"`) {
			t.Errorf("%s: %d %q %s", name, status, header.Get("WWW-Authenticate"), answer)
		}
	}
	status, _, answer := post("Bearer " + token)
	if status != http.StatusCreated || !strings.Contains(answer, `"user":"jane@EXAMPLE.COM"`) {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _ := p.get("/api/v1/builds"); status != http.StatusOK {
		t.Errorf("reading needs no user, and is answered %d", status)
	}
	t.Run("a registry's own credentials are not the engine's business", func(t *testing.T) {
		status, _, answer := p.do(http.MethodGet, "/v2/", "", map[string]string{"Authorization": "Bearer of.the.registry"})
		if status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
	})
	t.Run("a reload that cannot be does not open the door", func(t *testing.T) {
		config, err := os.ReadFile(p.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.config, bytes.ReplaceAll(config, []byte(file), []byte(file+".gone")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.command.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for range poll(t) {
			if strings.Contains(p.stderr.String(), "the configuration was not reloaded") {
				break
			}
		}
		if status, _, answer := post(""); status != http.StatusUnauthorized {
			t.Errorf("%d %s", status, answer)
		}
		if status, _, answer := post("Bearer " + token); status != http.StatusCreated {
			t.Errorf("%d %s", status, answer)
		}
	})
	if strings.Contains(p.stderr.String(), token) {
		t.Error("the log has the token")
	}
}
