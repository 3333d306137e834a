package host

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func diff(t testing.TB, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, options...); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestLaunch(t *testing.T) {
	ctx := t.Context()
	log, _ := newLog()
	c := command(t, "")
	c.Logger = log
	p, err := Launch(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()

	diff(t, "description", &Description{
		Name: "test-plugin", Version: p.Describe().Version, Doc: "Does what a test tells it to.",
		Schema: Schema{
			Attributes: []Attribute{
				{Name: "url", Doc: "Where it is.", Type: String, Required: true},
				{Name: "token", Type: String, Sensitive: true},
			},
			Blocks: []Block{{
				Name: "query", Repeated: true, Labels: []Label{{Name: "name"}},
				Schema: Schema{Attributes: []Attribute{{Name: "most", Doc: "How many.", Type: Int}}},
			}},
		},
		Handlers:    []HandlerDescription{{Type: "echo"}},
		Customizers: []CustomizerDescription{{Name: "rename", Schema: Schema{Attributes: []Attribute{{Name: "suffix", Type: String, Required: true}}}}},
		Gate:        true, Notifier: true, Builder: true, Service: true,
	}, p.Describe())

	if err := errors.Join(
		p.Configure(ctx, json.RawMessage(`{"url": "there", "token": "t0ken", "query": [{"name": "a", "most": 3}]}`)),
		p.Validate(ctx), p.Start(ctx, nil), p.Ping(ctx),
	); err != nil {
		t.Fatal(err)
	}

	t.Run("gives a gate", func(t *testing.T) {
		got, err := ask(ctx, p, "")
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "reason", "there t0ken [{a 3}]", got)
	})
	t.Run("gives a notifier", func(t *testing.T) {
		n, err := p.Notifier()
		if err != nil {
			t.Fatal(err)
		}
		err = n.Notify(ctx, &sdk.Event{ID: "7"})
		if sdk.CodeOf(err) != sdk.Unavailable || err.Error() != "no listener for 7" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("gives a builder", func(t *testing.T) {
		b, err := p.Builder()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Build(ctx, new(sdk.BuildSpec)); err != nil {
			t.Error(err)
		}
	})
	t.Run("gives a handler whose calls reach its job", func(t *testing.T) {
		h, err := p.Handler("echo")
		if err != nil {
			t.Fatal(err)
		}
		states := &stateRecorder{}
		job := sdk.NewJob(sdk.Request{Type: "echo", Params: []byte(`{"a":1}`)}, "", "", states)
		if err := h.Handle(ctx, job); err != nil {
			t.Fatal(err)
		}
		diff(t, "states", []string{`echo {"a":1}`}, states.reasons)
		diff(t, "outcome", "done", job.Outcome())
	})
	t.Run("gives customizers", func(t *testing.T) {
		if err := p.ValidateCustomizer(ctx, "rename", nil); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("without its settings: %v", err)
		}
		customizer, err := p.Customizer(ctx, "rename", []byte(`{"suffix": "-x"}`))
		if err != nil {
			t.Fatal(err)
		}
		b := &sdk.Bundle{Package: "etcd"}
		if err := customizer.Customize(ctx, b); err != nil {
			t.Fatal(err)
		}
		diff(t, "package", "etcd-x", b.Package)
		if err := customizer.Release(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("gives a service", func(t *testing.T) {
		h, err := p.Service(ctx, ServiceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/status/", nil)
		h.ServeHTTP(w, r.WithContext(WithUser(ctx, "bot")))
		diff(t, "answer", "/status/ for bot", w.Body.String())
	})
	t.Run("gives nothing that is not offered", func(t *testing.T) {
		_, handlerErr := p.Handler("add")
		_, customizerErr := p.Customizer(ctx, "none", nil)
		for _, err := range []error{handlerErr, customizerErr} {
			if sdk.CodeOf(err) != sdk.NotFound {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("leaves nothing behind when it is closed", func(t *testing.T) {
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		<-p.Exited()
		gone(t, p.PID())
		if _, err := ask(ctx, p, ""); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("a call afterwards: got %v", err)
		}
	})
}

type stateRecorder struct {
	sdk.JobHost
	reasons []string
}

func (s *stateRecorder) State(_ context.Context, reason string) error {
	s.reasons = append(s.reasons, reason)
	return nil
}

func sum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// script writes a program that leaves a file when it runs.
func script(t testing.TB, text string) (path, trace string) {
	t.Helper()
	dir := t.TempDir()
	path, trace = filepath.Join(dir, "plugin"), filepath.Join(dir, "trace")
	// Through a shell: a program that this process has had open for writing
	// may, by a fork elsewhere, be so still, and then cannot be executed.
	write := exec.Command("/bin/sh", "-c", `printf '%s' "$1" >"$0" && chmod 755 "$0"`, path,
		"#!/bin/sh\n: >"+trace+"\n"+text)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path, trace
}

func TestLaunchChecksTheFile(t *testing.T) {
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }

	t.Run("and starts one of the right checksum", func(t *testing.T) {
		c := command(t, "")
		c.SHA256 = sum(t, c.Path)
		launched(t, c)
		c.SHA256 = "sha256:" + c.SHA256
		launched(t, c)
	})
	t.Run("and does not start one of another", func(t *testing.T) {
		path, trace := script(t, "")
		_, err := Launch(t.Context(), Command{Path: path, SHA256: strings.Repeat("0", 64), SocketDir: socketDir(t)})
		if sdk.CodeOf(err) != sdk.Denied || !strings.Contains(err.Error(), sum(t, path)) {
			t.Errorf("got %v", err)
		}
		if exists(trace) {
			t.Error("it ran")
		}
	})
	t.Run("and does not start one that somebody writes to", func(t *testing.T) {
		path, _ := script(t, "")
		program, err := openProgram(path, sum(t, path))
		if err != nil {
			t.Fatal(err)
		}
		defer program.close()
		if err := program.unchanged(); err != nil {
			t.Fatal(err)
		}
		// In place, of the same length and with the same time of its content.
		if out, err := exec.Command("/bin/sh", "-c", `printf '#' | dd of="$0" conv=notrunc && touch -d @`+
			fmt.Sprintf("%d.%09d", program.info.ModTime().Unix(), program.info.ModTime().Nanosecond())+` "$0"`, path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, err = start(t.Context(), Command{Name: "tested", Path: path, StartTimeout: time.Minute, Logger: quiet}, program, socketDir(t))
		if sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("got %v", err)
		}
	})
	t.Run("and starts the one that it has checked, whatever is at the path by then", func(t *testing.T) {
		path, trace := script(t, "echo the first; exit 7")
		program, err := openProgram(path, sum(t, path))
		if err != nil {
			t.Fatal(err)
		}
		defer program.close()
		other, otherTrace := script(t, "echo the second")
		if err := os.Remove(path); err != nil { // a rename changes the times of what it moves
			t.Fatal(err)
		}
		if program.info, err = program.file.Stat(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
		_, err = start(t.Context(), Command{Name: "tested", Path: path, StartTimeout: time.Minute, Logger: quiet}, program, socketDir(t))
		if err == nil || !strings.Contains(err.Error(), "the first") {
			t.Errorf("got %v", err)
		}
		if !exists(trace) || exists(otherTrace) {
			t.Error("the wrong one ran")
		}
	})
	for _, c := range []struct {
		what string
		make func(path string) error
		sum  string
		want sdk.Code
	}{
		{"that is not there", func(string) error { return nil }, "", sdk.NotFound},
		{"that is a directory", func(p string) error { return os.Mkdir(p, 0o755) }, "", sdk.Invalid},
		{"that is a pipe", func(p string) error { return syscall.Mkfifo(p, 0o755) }, "", sdk.Invalid},
		{"that is not executable", func(p string) error { return os.WriteFile(p, []byte("#!/bin/sh\n"), 0o644) }, "", sdk.Denied},
		{"that is no program", func(p string) error { return os.WriteFile(p, []byte("text"), 0o755) }, "", sdk.Invalid},
		{"that is empty", func(p string) error { return os.WriteFile(p, nil, 0o755) }, "", sdk.Invalid},
		{"without its interpreter", func(p string) error { return os.WriteFile(p, []byte("#!/no/such\n"), 0o755) }, "", sdk.Invalid},
		{"with half a checksum", func(p string) error { return os.WriteFile(p, nil, 0o755) }, "sha256:abcd", sdk.Invalid},
	} {
		t.Run("and refuses one "+c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "plugin")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			_, err := Launch(t.Context(), Command{Path: path, SHA256: c.sum, SocketDir: socketDir(t)})
			if sdk.CodeOf(err) != c.want || !strings.HasPrefix(err.Error(), "launch plugin plugin: ") {
				t.Errorf("got %v of code %s, want %s", err, sdk.CodeOf(err), c.want)
			}
		})
	}
}

func TestLaunchOfABadPlugin(t *testing.T) {
	for _, c := range []struct {
		role string
		want sdk.Code
		says string
	}{
		{"exit", sdk.Unavailable, "it ended (exit status 3) before its handshake; it printed: cannot open the database"},
		{"garbage", sdk.Unavailable, "it ended (exit status 0) before its handshake"},
		{"old", sdk.Invalid, "it speaks version 99 of the plugin protocol and this engine version 1"},
		{"go-plugin 9", sdk.Invalid, `version "9" of the go-plugin protocol`},
		{"netrpc", sdk.Invalid, `it speaks "netrpc", not gRPC`},
		{"tcp", sdk.Invalid, `it listens on tcp "127.0.0.1:1"`},
		{"elsewhere", sdk.Invalid, `it listens on unix "/run/docker.sock"`},
		{"above", sdk.Invalid, `/../s"`},
		{"no socket", sdk.Unavailable, "its socket: "},
		{"a file", sdk.Invalid, "is no socket"},
		{"no TLS", sdk.Invalid, "it offers no mutual TLS"},
		{"foreign", sdk.Invalid, "it offers no mutual TLS"},
	} {
		t.Run(c.role, func(t *testing.T) {
			_, err := Launch(t.Context(), command(t, c.role))
			if sdk.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v of code %s, want %s and %q", err, sdk.CodeOf(err), c.want, c.says)
			}
		})
	}
	for _, role := range []string{"hang", "mute"} {
		t.Run(role+" until the time is over", func(t *testing.T) {
			c := command(t, role)
			c.Insecure = true
			c.StartTimeout = 300 * time.Millisecond
			_, err := Launch(t.Context(), c)
			if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "no answer within 300ms") {
				t.Errorf("got %v", err)
			}
		})
		t.Run(role+" until the caller has enough", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			c := command(t, role)
			c.Insecure = true
			if _, err := Launch(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("that prints before it serves is forgiven", func(t *testing.T) {
		c := command(t, "noise")
		log, lines := newLog()
		c.Logger = log
		launched(t, c)
		diff(t, "stream", "stdout", lines.wait("welcome to my plugin")["stream"])
	})
	t.Run("with a socket directory that is too long", func(t *testing.T) {
		c := command(t, "")
		c.SocketDir = "/" + strings.Repeat("d", maxSocketDir)
		if _, err := Launch(t.Context(), c); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with a socket directory that is as long as it may be", func(t *testing.T) {
		parent := socketDir(t)
		c := command(t, "")
		c.SocketDir = filepath.Join(parent, strings.Repeat("d", maxSocketDir-len(parent)-1))
		if err := os.Mkdir(c.SocketDir, 0o700); err != nil {
			t.Fatal(err)
		}
		p := launched(t, c)
		if _, err := p.Service(t.Context(), ServiceOptions{}); err != nil {
			t.Error(err)
		}
		p.Kill()
		if err := os.Remove(c.SocketDir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"", "A=B", "PLUGIN_CLIENT_CERT", "IIB_PLUGIN", "IIB_PLUGIN_LOG_LEVEL"} {
		t.Run("with an environment that sets "+strconv.Quote(name), func(t *testing.T) {
			c := command(t, "")
			c.Env[name] = "x"
			if _, err := Launch(t.Context(), c); sdk.CodeOf(err) != sdk.Invalid {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestInsecure(t *testing.T) {
	t.Run("a plugin that could do better", func(t *testing.T) {
		c := command(t, "")
		c.Insecure = true
		p := launched(t, c)
		if _, err := ask(t.Context(), p, ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("a plugin without anything of go-plugin's", func(t *testing.T) {
		c := command(t, "foreign")
		c.Insecure = true
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		got, err := ask(t.Context(), p, "")
		if err != nil || got != "from afar" {
			t.Errorf("got %q, %v", got, err)
		}
		lines.wait("printed by a plugin of another language")
		if _, err := p.Service(t.Context(), ServiceOptions{}); sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("a service that is claimed but not there: got %v", err)
		}
		if err := p.Close(t.Context()); sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("Close, which it does not have: got %v", err)
		}
		<-p.Exited()
	})
}

func TestPluginsProcess(t *testing.T) {
	t.Setenv("TEST_LEAK", "must not be inherited")
	c := command(t, "")
	c.Env["EXTRA"] = "a value"
	p := launched(t, c)
	answer, err := ask(t.Context(), p, "facts")
	if err != nil {
		t.Fatal(err)
	}
	var got facts
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatal(err)
	}

	var names []string
	for _, e := range got.Env {
		name, value, _ := strings.Cut(e, "=")
		names = append(names, name)
		if name == "EXTRA" {
			diff(t, "EXTRA", "a value", value)
		}
	}
	slices.Sort(names)
	diff(t, "environment", []string{
		"EXTRA", "IIB_PLUGIN", "IIB_PLUGIN_LOG_LEVEL", "PLUGIN_CLIENT_CERT", "PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT",
		"PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "TEST_PLUGIN",
	}, names)
	diff(t, "arguments", []string{c.Path}, got.Args)
	diff(t, "executable", c.Path, got.Exe)
	diff(t, "process", p.PID(), got.PID)
	diff(t, "parent of the working directory", c.SocketDir, filepath.Dir(got.Dir))
	diff(t, "bytes on standard input", int64(0), got.Stdin)

	info, err := os.Stat(got.Dir)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "mode of the socket directory", os.FileMode(0o700), info.Mode().Perm())
	group, err := syscall.Getpgid(p.PID())
	if err != nil || group != p.PID() {
		t.Errorf("the process is in group %d, %v", group, err)
	}

	t.Run("has the directory that it was given", func(t *testing.T) {
		c := command(t, "")
		c.Dir = t.TempDir()
		answer, err := ask(t.Context(), launched(t, c), "facts")
		if err != nil || !strings.Contains(answer, strconv.Quote(c.Dir)) {
			t.Errorf("got %s, %v", answer, err)
		}
	})
}

func TestPluginThatDies(t *testing.T) {
	t.Run("by a signal in the middle of a call", func(t *testing.T) {
		c := command(t, "")
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		failed := make(chan error)
		go func() {
			_, err := ask(t.Context(), p, "hang")
			failed <- err
		}()
		lines.wait("hanging")
		if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; sdk.CodeOf(err) != sdk.Unavailable || !strings.HasPrefix(err.Error(), "plugin tested: Check: no answer: ") {
			t.Errorf("got %v", err)
		}
		<-p.Exited()
		diff(t, "outcome", "signal: killed", p.Outcome())
		if err := p.Ping(t.Context()); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("a ping afterwards: got %v", err)
		}
	})
	t.Run("by a panic of its own", func(t *testing.T) {
		c := command(t, "")
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "crash"); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("got %v", err)
		}
		<-p.Exited()
		diff(t, "outcome", "exit status 2", p.Outcome())
		diff(t, "level", "ERROR", lines.wait("panic: a goroutine of the plugin")["level"])
	})
	t.Run("with what it has started", func(t *testing.T) {
		p := launched(t, command(t, ""))
		answer, err := ask(t.Context(), p, "child")
		if err != nil {
			t.Fatal(err)
		}
		child, err := strconv.Atoi(answer)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-p.Exited()
		p.Kill()
		gone(t, child)
	})
	t.Run("with its engine", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "iib") // a killed engine leaves it full
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		engine := exec.Command("/proc/self/exe")
		engine.Env = []string{"TEST_ENGINE=" + dir}
		engine.Args[0], err = os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := engine.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(line)
		}
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatalf("the plugin does not run: %v", err)
		}
		if err := engine.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = engine.Wait()
		gone(t, pid)
	})
}

func TestPluginThatIsFrozen(t *testing.T) {
	p := launched(t, command(t, ""))
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for state(p.PID()) != "T" {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: got %v", err)
	}
	if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: got %v", err)
	}
	<-p.Exited()
}

func TestKillFromEverywhere(t *testing.T) {
	p := launched(t, command(t, ""))
	done := make(chan struct{})
	for range 8 {
		go func() {
			p.Kill()
			done <- struct{}{}
		}()
	}
	for range 8 {
		<-done
	}
	if entries, err := os.ReadDir(p.proc.dir); err == nil {
		t.Errorf("left: %v", entries)
	}
}

func TestPluginThatCallsTheEngine(t *testing.T) {
	p, err := Launch(t.Context(), command(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := errors.Join(p.Configure(t.Context(), []byte(`{"url": ""}`)), p.Start(t.Context(), submitter{})); err != nil {
		t.Fatal(err)
	}
	got, err := ask(t.Context(), p, "submit")
	if err != nil || got != "42" {
		t.Errorf("got %q, %v", got, err)
	}
}

type submitter struct{ sdk.Host }

func (submitter) Submit(context.Context, string, string, json.RawMessage) (*sdk.RequestView, error) {
	return &sdk.RequestView{Request: sdk.Request{ID: 42}}, nil
}
func (submitter) Dirs() (data, cache string) { return "", "" }
func (submitter) Address() string            { return "" }

func TestOutputOfAPlugin(t *testing.T) {
	t.Run("is in the log with its levels", func(t *testing.T) {
		c := command(t, "")
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "print"); err != nil {
			t.Fatal(err)
		}
		diff(t, "stream", "stdout", lines.wait("to standard output")["stream"])
		diff(t, "stream", "stderr", lines.wait("to standard error")["stream"])
		diff(t, "level", "DEBUG", lines.wait("at debug")["level"])
		warning := lines.wait("at warn")
		diff(t, "level", "WARN", warning["level"])
		diff(t, "attribute", any(7.0), warning["n"])
		diff(t, "attribute that has a name of the engine's", any("fake"), warning["level_"])
		if strings.Contains(lines.text(), "t0ken") {
			t.Error("the secret is in the log")
		}
	})
	t.Run("does not get far when it is too much", func(t *testing.T) {
		c := command(t, "")
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "flood"); err != nil { // 20 MB
			t.Fatal(err)
		}
		if _, err := ask(t.Context(), p, ""); err != nil {
			t.Errorf("a call afterwards: %v", err)
		}
		p.Kill()
		if n := len(lines.text()); n > 10<<20 {
			t.Errorf("%d bytes got into the log", n)
		}
	})
}
