package host

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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

	"github.com/iib-engine/iib/sdk"
)

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
