package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// binaries is where the programs under test lie: built by make, or here.
var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("IIB_BIN"); dir != "" {
		return dir, nil
	}
	command := exec.Command("make", "-C", "../../..", "build")
	command.Stderr = os.Stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("make build: %w", err)
	}
	return filepath.Abs("../../../bin")
})

// buildExample builds an example plugin, as make build does it, so that the two
// share what they compile.
func buildExample(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	command := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "../../../docs/examples/"+name)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}

// process is a real server that a test started.
type process struct {
	t       testing.TB
	url     string
	dataDir string
	config  string
	bin     string
	command *exec.Cmd
	stderr  *lockedBuffer
	exited  chan struct{}
	// heard is the last event that a test has looked at.
	heard string
	// client trusts the server's certificate; nil is the default one.
	client *http.Client
	// broken are the plugins that cannot run.
	broken int
	// args come before the configuration, if they are not "server". env is added
	// to the environment, for the command line too.
	args, env []string
}

// lockedBuffer is what a process has printed so far.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer runs the engine with the shipped configuration and extra blocks.
// It ends with the test.
func startServer(t testing.TB, extra string) *process {
	t.Helper()
	return startWith(t, shippedConfig(t)+"\n"+extra, t.TempDir())
}

// shippedConfig is the configuration that everybody begins with.
func shippedConfig(t testing.TB) string {
	t.Helper()
	shipped, err := os.ReadFile("../../../iib.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return string(shipped)
}

// shippedDenying is the shipped configuration with a network that requests must
// not lead to.
func shippedDenying(t testing.TB, network string) string {
	t.Helper()
	const begin = "registry {\n"
	before, after, ok := strings.Cut(shippedConfig(t), begin)
	if !ok {
		t.Fatalf("iib.hcl has no %s", begin)
	}
	return fmt.Sprintf("%s%s  denied_networks = [%q]\n%s\n", before, begin, network, after)
}

// startWith runs the engine with a configuration, on a data directory that may
// hold what an earlier process left.
func startWith(t testing.TB, config, dataDir string) *process {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "iib.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dataDir: dataDir, config: file, bin: bin}
	p.start()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the server printed:\n%s", p.stderr)
		}
	})
	return p
}

// start runs the program. A first start takes a free port, a later one the
// same again: what a registry holds is known by its address.
func (p *process) start() {
	t := p.t
	t.Helper()
	listen := "127.0.0.1:0"
	if p.url != "" {
		listen = strings.TrimPrefix(p.url, "http://")
	}
	p.url = strings.Fields(p.launch("IIB_LISTEN=" + listen))[3]
	p.awaitPlugins()
}

// launch runs the program until it prints its first line, and returns that.
func (p *process) launch(env ...string) string {
	t := p.t
	t.Helper()
	args := p.args
	if args == nil {
		args = []string{"server"}
	}
	p.stderr, p.exited = new(lockedBuffer), make(chan struct{})
	p.command = exec.Command(filepath.Join(p.bin, "iib"), append(slices.Clone(args), "--config", p.config)...)
	p.command.Env = slices.Concat(os.Environ(), []string{"IIB_DATA_DIR=" + p.dataDir}, p.env, env)
	p.command.Stderr = p.stderr
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	command, exited := p.command, p.exited
	go func() {
		defer close(exited)
		_ = command.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the program did not start: %v\n%s", err, p.stderr)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return line
}

// awaitPlugins returns when every plugin runs that can.
func (p *process) awaitPlugins() {
	p.t.Helper()
	for range poll(p.t) {
		var answer struct {
			Items []struct{ State string }
		}
		status, body := p.get("/api/v1/plugins")
		if status != http.StatusOK || json.Unmarshal(body, &answer) != nil || len(answer.Items) == 0 {
			continue
		}
		running := 0
		for _, item := range answer.Items {
			if item.State == "running" {
				running++
			}
		}
		if running == len(answer.Items)-p.broken {
			return
		}
	}
}

// stop ends the server as an operator would, and waits for it.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	<-p.exited
}

// kill ends the server as a power cut would.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.exited
}

func (p *process) get(path string) (int, []byte) {
	p.t.Helper()
	status, _, body := p.do(http.MethodGet, path, "", nil)
	return status, body
}

// do sends a request; headers are name, value pairs.
func (p *process) do(method, path, body string, headers map[string]string) (int, http.Header, []byte) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		request.Header.Set(name, value)
		if value == "" {
			request.Header.Del(name)
		}
	}
	client := http.DefaultClient
	if p.client != nil {
		client = p.client
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, response.Header, data
}

// post sends JSON and decodes the answer's object.
func (p *process) post(path string, body any) (int, map[string]any) {
	p.t.Helper()
	text, ok := body.(string)
	if !ok {
		data, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		text = string(data)
	}
	status, _, data := p.do(http.MethodPost, path, text, nil)
	var answer map[string]any
	_ = json.Unmarshal(data, &answer)
	return status, answer
}

// wait returns a request when it has ended.
func (p *process) wait(id any) map[string]any {
	p.t.Helper()
	for range poll(p.t) {
		status, data := p.get(fmt.Sprintf("/api/v1/builds/%v?wait=5", id))
		var answer map[string]any
		if status != http.StatusOK || json.Unmarshal(data, &answer) != nil {
			continue
		}
		if answer["state"] != "in_progress" {
			return answer
		}
	}
	return nil
}

// shippedWithout is the shipped configuration without one of its lines.
func shippedWithout(t testing.TB, line string) string {
	t.Helper()
	shipped := shippedConfig(t)
	without := strings.Replace(shipped, line, "", 1)
	if without == shipped {
		t.Fatalf("iib.hcl has no %s", line)
	}
	return without + "\n"
}
