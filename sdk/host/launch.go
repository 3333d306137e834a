package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// Command is a plugin's program and how to start it.
type Command struct {
	// Name is the plugin's name in messages and logs, as the configuration
	// has it; the last part of Path if empty.
	Name string
	// Path is the program's file.
	Path string
	// SHA256 is the file's checksum: 64 hexadecimal digits, with or without
	// "sha256:" before them. Empty starts any file.
	SHA256 string
	// Env is the plugin's whole environment, apart from what the handshake
	// adds. Nothing is inherited.
	Env map[string]string
	// Dir is the working directory; the plugin's private socket directory, which
	// vanishes with it, if empty.
	Dir string
	// SocketDir is an existing directory in which a private one is made for the
	// plugin's sockets; the system's directory for temporary files if empty. It
	// may have at most 69 bytes: the address of a socket is short. An engine that
	// was killed leaves those of its plugins behind: give it a directory of its
	// own and empty that when it starts.
	SocketDir string
	// Logger gets what the plugin logs and prints, within bounds; nil drops it.
	Logger *slog.Logger
	// StartTimeout bounds Launch; 0 means 15 seconds.
	StartTimeout time.Duration
	// Limits bound what the process may use.
	Limits Limits
	// Insecure does without mutual TLS, for a plugin that cannot do it. The
	// private socket directory is then its only protection.
	Insecure bool
}

// Launch verifies and starts the program and asks what it offers. The plugin
// is not configured and not started yet.
//
// The error's code tells what helps: NotFound, Denied (checksum) and Invalid
// (not a plugin, or one of another protocol) last until somebody changes a
// file; Unavailable may be tried again. ctx bounds Launch only, not the plugin.
func Launch(ctx context.Context, c Command) (*Plugin, error) {
	if c.Name == "" {
		c.Name = filepath.Base(c.Path)
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = 15 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SocketDir == "" {
		c.SocketDir = os.TempDir()
	}
	p, err := launch(ctx, c)
	if err != nil {
		err = fmt.Errorf("launch plugin %s: %w", c.Name, err)
		return nil, err
	}
	return p, nil
}

// maxSocketDir leaves room in a socket's address, 107 bytes, for the two names
// that go-plugin adds.
const maxSocketDir = 107 - len("/plugin-dir4294967295") - len("/plugin4294967295")

func launch(ctx context.Context, c Command) (*Plugin, error) {
	socketDir, err := filepath.Abs(c.SocketDir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "socket directory %s: %v", c.SocketDir, err)
	}
	if len(socketDir) > maxSocketDir {
		return nil, sdk.Errorf(sdk.Invalid, "socket directory %s: the path has %d bytes, at most %d leave room for a socket's name",
			socketDir, len(socketDir), maxSocketDir)
	}
	for name := range c.Env {
		if reserved(name) {
			return nil, sdk.FieldErrorf(name, "environment: %q is set by the handshake, or is no name", name)
		}
	}
	program, err := openProgram(c.Path, c.SHA256)
	if err != nil {
		return nil, err
	}
	defer program.close()
	return start(ctx, c, program, socketDir)
}

// start runs the program that was verified.
func start(ctx context.Context, c Command, program *program, socketDir string) (*Plugin, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.StartTimeout, errSlow)
	defer cancel()

	proc := newProcess(c, program)
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  wire.Handshake,
		VersionedPlugins: wire.ClientSets(),
		RunnerFunc:       proc.runner,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         !c.Insecure,
		SkipHostEnv:      true,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: socketDir},
		StartTimeout:     c.StartTimeout + time.Second, // ctx ends sooner, and with a better message
		GRPCDialOptions:  wire.DialOptions(c.Name),
		Logger:           chatter(c.Logger),
		SyncStdout:       proc.out.writer("stdout"),
		SyncStderr:       proc.out.writer("stderr"),
	})
	p := &Plugin{name: c.Name, logger: c.Logger, proc: proc, client: client, gone: make(chan struct{})}
	stop := context.AfterFunc(ctx, proc.kill)
	err := p.connect(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		proc.kill()
		p.cleanUp()
		return nil, proc.explain(ctx, err)
	}
	go func() {
		<-proc.exited
		p.cleanUp()
	}()
	return p, nil
}

var errSlow = errors.New("too slow")

// explain returns the error that says most of why the plugin did not start.
// The process has ended.
func (p *process) explain(ctx context.Context, err error) error {
	var known story
	p.tell(func(s *story) { known = *s })
	said := ""
	if last := p.out.last(); last != "" {
		said = "; it printed: " + last
	}
	switch {
	case known.refused != nil:
		return known.refused
	case errors.Is(context.Cause(ctx), errSlow):
		return sdk.Errorf(sdk.Unavailable, "no answer within %v%s", p.command.StartTimeout, said)
	case ctx.Err() != nil:
		return ctx.Err()
	case !known.started:
		return startError(p.program.path, err)
	case known.handshook:
		return err
	}
	return sdk.Errorf(sdk.Unavailable, "it ended (%v) before its handshake%s", p.outcome, said)
}

// startError tells a file that is no program from a machine that is too busy.
func startError(path string, err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err // its path is that of the descriptor
	}
	for _, final := range []error{syscall.ENOEXEC, syscall.EACCES, syscall.ENOENT, syscall.ENOTDIR} {
		if errors.Is(err, final) {
			return sdk.Errorf(sdk.Invalid, "execute %s: %v", path, err)
		}
	}
	return sdk.Errorf(sdk.Unavailable, "execute %s: %v", path, err)
}

// reserved reports whether the plugin's environment cannot have a variable.
func reserved(name string) bool {
	return name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "PLUGIN_") ||
		name == wire.Handshake.MagicCookieKey || name == wire.LogLevelVariable
}
