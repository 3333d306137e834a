package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
)

func command(t testing.TB, role string) Command {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Command{
		Name: "tested", Path: exe, SocketDir: socketDir(t),
		Env: map[string]string{"TEST_PLUGIN": role}, StartTimeout: time.Minute,
	}
}

func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "iib")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left in the socket directory: %v", err)
			_ = os.RemoveAll(dir)
		}
	})
	return dir
}

func launched(t testing.TB, c Command) *Plugin {
	t.Helper()
	p, err := Launch(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.Configure(t.Context(), []byte(`{"url": "u", "token": "t0ken"}`)); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func ask(ctx context.Context, p *Plugin, what string) (string, error) {
	gate, err := p.Gate()
	if err != nil {
		return "", err
	}
	v, err := gate.Check(ctx, &sdk.GateRequest{Request: sdk.Request{Type: what}})
	return v.Reason, err
}

type logged struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  bytes.Buffer
}

func newLog() (*slog.Logger, *logged) {
	l := &logged{}
	l.cond = sync.NewCond(&l.mu)
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cond.Broadcast()
	return l.buf.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) wait(message string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for line := range bytes.Lines(l.buf.Bytes()) {
			var record map[string]any
			if json.Unmarshal(line, &record) == nil && record["msg"] == message {
				return record
			}
		}
		l.cond.Wait()
	}
}

func state(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return string(rest[:1])
}

func gone(t testing.TB, pid int) {
	t.Helper()
	give := time.Now().Add(time.Minute)
	for s := state(pid); s != "" && s != "Z"; s = state(pid) {
		if time.Now().After(give) {
			t.Fatalf("process %d is still there, in state %s", pid, s)
		}
		runtime.Gosched()
	}
}
