package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestHealth(t *testing.T) {
	broken := "plugin \"broken\" {\n  kind = \"gate\"\n  path = \"/bin/false\"\n}\n"
	p := startServer(t, "")
	for _, path := range []string{"/api/v1/healthcheck", "/livez", "/readyz"} {
		if status, body := p.get(path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	p.post("/api/v1/builds/add", `{}`)
	status, body := p.get("/metrics")
	for _, line := range []string{`iib_http_requests_total{code="400",method="POST",route="/api/v1/builds/{type}"} 1`, `iib_plugin_up{kind="handler",plugin="index-add",state="running"} 1`} {
		if status != http.StatusOK || !strings.Contains(string(body), line) {
			t.Errorf("%d, without %s", status, line)
		}
	}
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.config, append(config, broken...), 0o600); err != nil {
		t.Fatal(err)
	}
	p.want(exitOK, nil, "plugin", "reload", "--config", p.config)
	for range poll(t) {
		status, body := p.get("/readyz")
		if status != http.StatusServiceUnavailable {
			continue
		}
		var answer struct{ Parts map[string]string }
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		if parts := answer.Parts; !strings.Contains(parts["plugins"], "broken") || parts["database"] != "ok" || parts["redis"] != "ok" || parts["registry"] != "ok" || parts["disk"] != "ok" {
			t.Errorf("%v", parts)
		}
		break
	}
	if status, _ := p.get("/livez"); status != http.StatusOK {
		t.Errorf("/livez: %d", status)
	}
}

func TestAnEngineIsReadyWhenItsPluginsRun(t *testing.T) {
	p := startServer(t, "")
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	p.launch("IIB_LISTEN=" + strings.TrimPrefix(p.url, "http://"))
	for range poll(t) {
		if status, _ := p.get("/v2/"); status == http.StatusNotFound {
			t.Error("while the plugins start, the registry's address is nobody's")
		}
		if status, _ := p.get("/readyz"); status != http.StatusOK {
			continue
		}
		var answer struct {
			Items []struct{ Name, State string }
		}
		if _, body := p.get("/api/v1/plugins"); json.Unmarshal(body, &answer) != nil || len(answer.Items) == 0 {
			t.Fatalf("it is ready with the plugins %s", body)
		}
		for _, item := range answer.Items {
			if item.State != "running" {
				t.Errorf("it is ready, and %s is %s", item.Name, item.State)
			}
		}
		return
	}
}
