// Package child runs programs that end with this one, however it ends.
//
// The kernel's parent-death signal is sent when the thread that started the
// child ends, not when its process does, and Go ends a thread whenever a
// goroutine that has locked it returns. A child that is started on any thread
// can therefore die at any time of somebody else's goroutine. Start keeps a
// thread for each child until that has ended.
package child

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a program that Start has started. Its methods may be called from
// several goroutines.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // how it ended; read after exited

	// mu guards reaped, after which the group's number may be somebody else's.
	mu     sync.Mutex
	reaped bool
}

// Start starts cmd, which it may change and which is its own from then on. The
// child gets SysProcAttr.Pdeathsig, or SIGKILL if that is none, when this
// process ends. With SysProcAttr.Setpgid, all that is left of its group is
// killed when the child ends. The error is that of cmd.Start.
//
// cmd is waited for from the beginning, so its StdoutPipe and StderrPipe, which
// that closes, are not for it: use an os.Pipe. The context of exec.CommandContext
// kills the child alone.
func Start(cmd *exec.Cmd) (*Process, error) {
	attr := new(syscall.SysProcAttr)
	if cmd.SysProcAttr != nil {
		*attr = *cmd.SysProcAttr
	}
	if attr.Pdeathsig == 0 {
		attr.Pdeathsig = syscall.SIGKILL
	}
	cmd.SysProcAttr = attr
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the child and waits for it on one thread.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	// Waiting without reaping keeps the group's number from being used again
	// until everything in it has been told to die.
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	if p.cmd.SysProcAttr.Setpgid {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	p.reaped = true
	p.mu.Unlock()
	p.err = p.cmd.Wait()
	close(p.exited)
}

// PID is the child's process number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the child alone. The error is os.ErrProcessDone
// when it has been waited for.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Kill kills the child, and its group if it has one of its own. It does not
// wait, and does nothing to one that has ended.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reaped:
	case p.cmd.SysProcAttr.Setpgid:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	default:
		_ = p.cmd.Process.Kill()
	}
}

// Exited is closed when the child has ended and what it wrote has been copied.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits for the child's end and returns what cmd.Wait does.
func (p *Process) Wait() error {
	<-p.exited
	return p.err
}
