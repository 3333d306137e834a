// Package process runs the programs that make images: each in a process group
// that ends with its context, and with this process, however that ends.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/printed"
)

// searchPath is where programs are looked for. The path of the environment may
// lead to programs of the same name that lack Debian's modules.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Find returns the absolute path of a program, or an Unavailable error that
// says what to install.
func Find(program string) (string, error) {
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", sdk.Errorf(sdk.Unavailable, "the program %s is not installed on this host", program)
}

// Command is a program to be run. It sees nothing of this process's
// environment.
type Command struct {
	// Program is a name that Find knows, or an absolute path.
	Program string
	Args    []string
	// Env is added to a search path, a locale, and HOME and TMPDIR, which are Dir.
	Env []string
	// Dir is where it runs, and where it may leave what it likes.
	Dir   string
	Stdin io.Reader
	// Stdout gets what it prints; nil drops that.
	Stdout io.Writer
	// Stderr gets what it says of its work; its end is also kept for the error.
	Stderr io.Writer
	// Files are its descriptors from 3 on.
	Files []*os.File
	// Attr changes how it is started.
	Attr func(*syscall.SysProcAttr)
}

// Failure is a program that ran and ended badly.
type Failure struct {
	Program string
	// Cause is how it ended, such as "exit status 1".
	Cause error
	// Output is the end of what it wrote to its standard error.
	Output string
}

func (f *Failure) Error() string {
	if line := printed.LastLine(f.Output); line != "" {
		return fmt.Sprintf("%s: %v: %s", f.Program, f.Cause, line)
	}
	return fmt.Sprintf("%s: %v", f.Program, f.Cause)
}

// NoSpace reports whether the program ended because a disk is full.
func (f *Failure) NoSpace() bool {
	lower := strings.ToLower(f.Output)
	return strings.Contains(lower, "no space left") || strings.Contains(lower, "enospc") || strings.Contains(lower, "disk quota exceeded")
}

// Run runs the program and waits for it and for all that it has started. Its
// error is ctx's cause, a *Failure, or an *sdk.Error if the program cannot be
// started.
func (c *Command) Run(ctx context.Context) error {
	path := c.Program
	if !filepath.IsAbs(path) {
		var err error
		if path, err = Find(path); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	end := &printed.Tail{Limit: 64 << 10}
	cmd := &exec.Cmd{
		Path: path,
		Args: append([]string{path}, c.Args...),
		Dir:  c.Dir,
		// The first setting of a variable is not the last word: the last is.
		Env: append([]string{
			"PATH=" + searchPath, "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=" + c.Dir, "TMPDIR=" + c.Dir,
		}, c.Env...),
		Stdin:      c.Stdin,
		Stdout:     c.Stdout,
		Stderr:     end,
		ExtraFiles: c.Files,
		WaitDelay:  10 * time.Second,
		SysProcAttr: &syscall.SysProcAttr{
			Setpgid: true,
		},
	}
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(end, c.Stderr)
	}
	if c.Attr != nil {
		c.Attr(cmd.SysProcAttr)
	}
	err := run(ctx, cmd)
	name := filepath.Base(path)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && err != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &Failure{Program: name, Cause: err, Output: end.String()}
	case errors.Is(err, fs.ErrNotExist):
		return sdk.Errorf(sdk.Unavailable, "the program %s is not installed on this host", path)
	}
	return sdk.Errorf(sdk.Internal, "start %s: %w", path, err)
}

// run starts the process and waits for it; its group ends with ctx.
func run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := child.Start(cmd)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, p.Kill)()
	return p.Wait()
}

// Lines calls a function with each line that is written to it, without its end.
// What follows the last line break is handed over by Flush. It may take both of
// a program's outputs: Each is called by one goroutine at a time.
type Lines struct {
	Each func(string)

	mu   sync.Mutex
	rest []byte
}

// longest bounds a line; the rest of a longer one is a line of its own.
const longest = 16 << 10

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexAny(l.rest, "\n\r")
		if i < 0 && len(l.rest) < longest {
			return len(p), nil
		}
		skip := 1
		if i < 0 || i > longest {
			i, skip = longest, 0
		}
		l.hand(l.rest[:i])
		l.rest = l.rest[i+skip:]
	}
}

// Flush hands over an unfinished line.
func (l *Lines) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hand(l.rest)
	l.rest = nil
}

func (l *Lines) hand(line []byte) {
	if text := strings.TrimRightFunc(strings.ToValidUTF8(string(line), "?"), unicode.IsSpace); text != "" {
		l.Each(text)
	}
}

// AsRoot makes a program see our files as root's, where we are not root: in a
// user name space with one user in it. For Command.Attr.
func AsRoot(a *syscall.SysProcAttr) {
	uid := os.Geteuid()
	if uid == 0 {
		return
	}
	a.Cloneflags |= unix.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}
