package child_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest/processes"
)

// parent is set for this program when it is to run a child and be killed.
const parent = "CHILD_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parent) == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/bin/sleep", "600")
	cmd.Stdout = os.Stdout
	p, err := child.Start(cmd)
	fmt.Println(err)
	if err == nil {
		_ = p.Wait()
	}
}

// Whoever reads what both write sees the end of it when both have ended.
func TestAChildEndsWithItsParent(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parent+"=1")
	cmd.Stdout = write
	p, err := child.Start(cmd)
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(read)
	if line, err := out.ReadString('\n'); line != "<nil>\n" {
		t.Fatalf("the parent says %q, %v", line, err)
	}
	p.Kill()
	_ = p.Wait()
	if err := read.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := out.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the child of a parent that was killed: %v", err)
	}
}

// shell starts a script and returns its first line.
func shell(t *testing.T, group bool, script string) (*child.Process, string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
	cmd.Stdout = write
	p, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		_ = p.Wait()
	})
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(line)
}

func TestStart(t *testing.T) {
	p, line := shell(t, false, "echo $$; exit 3")
	if line != strconv.Itoa(p.PID()) {
		t.Errorf("PID %d, want %s", p.PID(), line)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.Wait()); !ok || exit.ExitCode() != 3 {
		t.Errorf("Wait: %v, want exit status 3", p.Wait())
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v, want os.ErrProcessDone", err)
	}
	p.Kill()
}

func TestStartOfNothing(t *testing.T) {
	if _, err := child.Start(exec.Command("/no/such/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start: %v, want os.ErrNotExist", err)
	}
}

// A child outlives the thread that Start was called on: an echo that has been
// told to die does not answer.
func TestAChildOutlivesThreads(t *testing.T) {
	ours, its := net.Pipe()
	cmd := exec.Command("/bin/cat")
	cmd.Stdin, cmd.Stdout = its, its
	var p *child.Process
	var err error
	onThreadThatEnds(t, func() { p, err = child.Start(cmd) })
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(ours)
	for i := range 20 {
		onThreadThatEnds(t, func() {})
		if _, err := fmt.Fprintln(ours, i); err != nil {
			t.Fatal(err)
		}
		if line, err := answers.ReadString('\n'); err != nil || line != fmt.Sprintln(i) {
			t.Fatalf("the child answers %q, %v", line, err)
		}
	}
	p.Kill()
	ours.Close()
	_ = p.Wait()
}

// onThreadThatEnds calls f, and returns when its thread has ended.
func onThreadThatEnds(t *testing.T, f func()) {
	t.Helper()
	id := make(chan int)
	lock := func() {
		runtime.LockOSThread() // the thread ends with its goroutine
		tid := unix.Gettid()
		if tid != os.Getpid() {
			f()
		}
		id <- tid
	}
	go lock()
	tid := <-id
	if tid == os.Getpid() { // the first thread never ends
		go lock()
		tid = <-id
	}
	thread := fmt.Sprintf("/proc/self/task/%d", tid)
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		if _, err := os.Stat(thread); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("thread %s does not end", thread)
		}
	}
}

func TestAGroupEndsWithItsChild(t *testing.T) {
	for _, c := range []struct {
		name, script string
		end          func(*child.Process)
	}{
		{"killed", "sleep 600 & echo $!; wait", (*child.Process).Kill},
		{"by itself", "sleep 600 & echo $!; read line || exit 0", func(*child.Process) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, line := shell(t, true, c.script)
			pid, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(err)
			}
			other := processes.Watch(t, pid)
			c.end(p)
			_ = p.Wait()
			other.Ended()
		})
	}
}
