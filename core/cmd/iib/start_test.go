package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// What a plugin that has not run yet will answer is not known: a client must not
// take that for the final answer that it does not exist.
func TestWhatIsNotKnownYetIsNoNotFound(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	if status, _, body := p.do(http.MethodPost, "/api/v1/builds/unheard-of", `{}`, nil); status != http.StatusNotFound {
		t.Errorf("%d %s", status, body)
	}
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	broken := "plugin \"broken\" {\n  kind = \"handler\"\n  path = \"/bin/false\"\n}\n"
	if err := os.WriteFile(p.config, append(config, broken...), 0o600); err != nil {
		t.Fatal(err)
	}
	p.want(exitOK, nil, "plugin", "reload", "--config", p.config)
	for range poll(t) {
		if status, body := p.get("/readyz"); status == http.StatusServiceUnavailable && strings.Contains(string(body), "broken") {
			break
		}
	}
	for _, path := range []string{"/api/v1/builds/unheard-of", "/unheard-of"} {
		status, header, body := p.do(http.MethodPost, path, `{}`, nil)
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestAnEngineThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	address := "postgres://iib:canary@" + loopback.Address(t) + "/iib"
	p := &process{t: t, dataDir: t.TempDir(), bin: bin, env: []string{"IIB_DATABASE_URL=" + address}}
	file := filepath.Join(t.TempDir(), "iib.hcl")
	if err := os.WriteFile(file, []byte("database { url = env(\"IIB_DATABASE_URL\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said, code := p.cli("server", "--config", file)
	if code != exitFault || !strings.Contains(said, "connection refused") || strings.Contains(said, "panic") || strings.Contains(said, "canary") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}
