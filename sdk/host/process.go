package host

import (
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// process runs a plugin's program. It is go-plugin's runner: go-plugin makes
// the certificates and the private directory, and this does the rest.
type process struct {
	command Command
	program *program
	out     *output
	cmd     *exec.Cmd
	dir     string // private to this process, from go-plugin

	// handshake is what go-plugin reads: the checked line, then nothing until
	// the process ends.
	handshake io.ReadCloser

	exited  chan struct{} // closed when the process is reaped
	outcome error         // how it ended; read after exited

	mu     sync.Mutex
	child  *child.Process // nil until Start
	doomed bool           // it was to be killed, perhaps before Start
	story  story
}

// story is what explains a failed start.
type story struct {
	started   bool
	handshook bool
	refused   error  // why this package ended it
	excess    string // the limit that it has exceeded
}

func (p *process) tell(f func(*story)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.story)
}

func newProcess(c Command, p *program) *process {
	return &process{
		command: c,
		program: p,
		out:     newOutput(c.Logger),
		exited:  make(chan struct{}),
	}
}

// runner is called by go-plugin with the environment of the handshake and the
// directory that it has made.
func (p *process) runner(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
	p.dir = dir
	p.cmd = &exec.Cmd{
		// The first of ExtraFiles is descriptor 3 in the child. It stays open
		// there, so that the interpreter of a script can read it.
		Path:       "/proc/self/fd/3",
		Args:       []string{p.program.path},
		ExtraFiles: []*os.File{p.program.file},
		Env:        spec.Env,
		Dir:        p.command.Dir,
		SysProcAttr: &syscall.SysProcAttr{
			// A group of its own: a terminal's interrupt is the engine's to
			// handle, and what the plugin has started is killed with it.
			Setpgid: true,
		},
	}
	if p.cmd.Dir == "" {
		p.cmd.Dir = dir
	}
	for _, name := range slices.Sorted(maps.Keys(p.command.Env)) {
		p.cmd.Env = append(p.cmd.Env, name+"="+p.command.Env[name])
	}
	p.cmd.Env = append(p.cmd.Env, wire.LogLevelVariable+"="+p.out.level())
	if _, set := p.command.Env["GOMEMLIMIT"]; !set {
		p.cmd.Env = append(p.cmd.Env, p.command.Limits.environment()...)
	}
	return p, nil
}

// Start implements runner.Runner.
func (p *process) Start(context.Context) error {
	stdout, stdoutEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	stderr, stderrEnd, err := os.Pipe()
	if err != nil {
		stdout.Close()
		stdoutEnd.Close()
		return err
	}
	p.cmd.Stdout, p.cmd.Stderr = stdoutEnd, stderrEnd
	err = p.begin()
	stdoutEnd.Close()
	stderrEnd.Close()
	if err == nil {
		if err = p.admit(); err != nil {
			p.refuse(err)
		}
	}
	if err != nil {
		stdout.Close()
		stderr.Close()
		return err
	}
	p.tell(func(s *story) { s.started = true })
	p.read(stdout, stderr)
	return nil
}

// admit looks once more at a process that has begun.
func (p *process) admit() error {
	if err := p.program.unchanged(); err != nil {
		return err
	}
	if err := p.command.Limits.impose(p.cmd.Process.Pid); err != nil {
		return sdk.Errorf(sdk.Internal, "%v", err)
	}
	go p.watch()
	return nil
}

// begin starts the process and has its end told.
func (p *process) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun, err := child.Start(p.cmd)
	if err != nil {
		close(p.exited)
		return err
	}
	p.child = begun
	if p.doomed {
		begun.Kill()
	}
	go func() {
		p.outcome = p.ending(begun.Wait())
		close(p.exited)
	}()
	return nil
}

// read takes what the process prints. The readers end when the process has
// ended, even if something that it started keeps the other end open.
func (p *process) read(stdout, stderr *os.File) {
	toPlugin, fromUs := io.Pipe()
	p.handshake = toPlugin
	go func() {
		defer stdout.Close()
		defer fromUs.Close()
		p.readHandshake(stdout, fromUs)
	}()
	go func() {
		defer stderr.Close()
		p.out.copy("stderr", stderr)
	}()
	go func() {
		<-p.exited
		soon := time.Now().Add(time.Second)
		_ = stdout.SetReadDeadline(soon)
		_ = stderr.SetReadDeadline(soon)
	}()
}

// kill ends the process and all that it has started. It does not wait.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doomed = true
	if p.child != nil {
		p.child.Kill()
	}
}

// refuse ends a process that must not become a plugin.
func (p *process) refuse(err error) {
	p.tell(func(s *story) { s.refused = err })
	p.kill()
}

// Kill implements runner.Runner.
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

// Wait implements runner.Runner.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.outcome
}

// Stdout implements runner.Runner.
func (p *process) Stdout() io.ReadCloser { return p.handshake }

// Stderr implements runner.Runner. What the plugin logs does not go through
// go-plugin, which has no bounds for it.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(untilClosed(p.exited)) }

type untilClosed <-chan struct{}

func (c untilClosed) Read([]byte) (int, error) {
	<-c
	return 0, io.EOF
}

// Name implements runner.Runner.
func (p *process) Name() string { return p.program.path }

// ID implements runner.Runner.
func (p *process) ID() string {
	if p.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

// Diagnose implements runner.Runner. Launch explains its errors itself.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.AddrTranslator. go-plugin asks it for every
// address that comes from the plugin.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	if err := p.inside(network, address); err != nil {
		return "", "", err
	}
	return network, address, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// inside refuses addresses other than sockets in the private directory: the
// engine must not be talked into connecting elsewhere.
func (p *process) inside(network, address string) error {
	if network != "unix" || filepath.Dir(address) != p.dir || filepath.Clean(address) != address {
		return sdk.Errorf(sdk.Invalid, "it listens on %s %q, not on a unix socket in the directory PLUGIN_UNIX_SOCKET_DIR", network, address)
	}
	info, err := os.Lstat(address)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "its socket: %v", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return sdk.Errorf(sdk.Invalid, "%s is no socket", address)
	}
	return nil
}
