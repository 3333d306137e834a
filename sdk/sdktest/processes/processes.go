// Package processes waits in tests for the end of processes that are not the
// test's own children.
package processes

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a process may take to end.
const patience = 30 * time.Second

// Watched are processes that a test has an eye on. What is watched is the
// process, whoever gets its number later.
type Watched struct {
	t       testing.TB
	running []watched
}

type watched struct {
	pid int
	// fd becomes readable when the process has ended.
	fd *os.File
}

// Watch begins to watch processes. One that has ended by now is none of them.
func Watch(t testing.TB, pids ...int) *Watched {
	t.Helper()
	w := &Watched{t: t}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatalf("watch process %d: %v", pid, err)
		}
		file := os.NewFile(uintptr(fd), fmt.Sprint("process ", pid))
		t.Cleanup(func() { file.Close() })
		w.running = append(w.running, watched{pid, file})
	}
	return w
}

// Ended waits until all have ended. Those that do not are killed, and the test
// fails.
func (w *Watched) Ended() {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for _, p := range w.running {
		if p.ends(deadline) {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		w.t.Errorf("process %d is left: %.80q", p.pid, line)
		if err := unix.PidfdSendSignal(int(p.fd.Fd()), unix.SIGKILL, nil, 0); err != nil {
			w.t.Error(err)
		}
	}
}

// ends reports whether a process ends before a deadline.
func (p watched) ends(deadline time.Time) bool {
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd.Fd()), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}
