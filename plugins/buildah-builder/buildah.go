package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/printed"
)

// buildah runs the program with storage and credentials of our own.
type buildah struct {
	program string
	global  []string
	dir     string
	auth    string
}

// tool prepares buildah for one build. dir is private to it and holds, until
// the build ends, the credentials in a file that only we can read: they must
// not be on a command line.
func (b *builder) tool(spec *sdk.BuildSpec, dir string) (*buildah, error) {
	storage := b.StorageDir
	if storage == "" {
		storage = filepath.Join(spec.CacheDir, "buildah")
	}
	global := []string{"--root", filepath.Join(storage, "root"), "--runroot", filepath.Join(storage, "run")}
	if b.StorageDriver != "" {
		global = append(global, "--storage-driver", b.StorageDriver)
	}
	auth, err := writeAuth(filepath.Join(dir, "auth.json"), spec)
	if err != nil {
		return nil, err
	}
	return &buildah{program: b.Program, global: global, dir: dir, auth: auth}, nil
}

func writeAuth(path string, spec *sdk.BuildSpec) (string, error) {
	type login struct {
		Auth string `json:"auth"`
	}
	logins := make(map[string]login)
	for _, at := range []struct {
		spec   string
		access sdk.Access
	}{{spec.Base, spec.BaseAccess}, {spec.Repository, spec.PushAccess}} {
		ref, err := image.ParseRef(at.spec)
		if err != nil || at.access.Username == "" {
			continue
		}
		logins[ref.Name()] = login{base64.StdEncoding.EncodeToString([]byte(at.access.Username + ":" + at.access.Password.Reveal()))}
	}
	data, err := json.Marshal(map[string]any{"auths": logins})
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return "", sdk.Errorf(sdk.Internal, "buildah: %v", err)
	}
	return path, nil
}

// reach returns the flags of a command that talks to a registry.
func (t *buildah) reach(ref image.Ref, access sdk.Access) ([]string, error) {
	flags := []string{"--authfile", t.auth}
	if access.PlainHTTP || ref.Loopback() {
		return append(flags, "--tls-verify=false"), nil
	}
	if access.CAFile == "" {
		return flags, nil
	}
	dir, err := os.MkdirTemp(t.dir, "certificates-")
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "buildah: %v", err)
	}
	if err := os.Symlink(access.CAFile, filepath.Join(dir, "ca.crt")); err != nil {
		return nil, sdk.Errorf(sdk.Internal, "buildah: %v", err)
	}
	return append(flags, "--cert-dir", dir), nil
}

// place is where a command does its work, and so whose fault it is when it
// fails without a word that we know.
type place int

const (
	local place = iota
	remote
)

func (t *buildah) run(ctx context.Context, where place, args ...string) error {
	_, err := t.exec(ctx, where, args)
	return err
}

func (t *buildah) output(ctx context.Context, args ...string) (string, error) {
	out, err := t.exec(ctx, local, args)
	return strings.TrimSpace(out), err
}

func (t *buildah) exec(ctx context.Context, where place, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, t.program, append(t.global[:len(t.global):len(t.global)], args...)...)
	cmd.Dir = t.dir
	cmd.Env = []string{"HOME=" + t.dir, "TMPDIR=" + t.dir, "XDG_RUNTIME_DIR=" + t.dir, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	// buildah starts itself again in a namespace; a cancellation must reach all
	// of them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	stdout, stderr := &printed.Tail{Limit: 64 << 10}, &printed.Tail{Limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return "", sdk.Errorf(sdk.Internal, "buildah cannot be started: %v; install it, or set program to its path", err)
	}
	return "", failure(args[0], stderr.String(), err, where)
}

// failure makes an error of what buildah wrote. Its last line names the cause,
// its exit code does not.
func failure(command, stderr string, err error, where place) error {
	cause := lastLine(stderr)
	if cause == "" {
		cause = err.Error()
	}
	code := sdk.Internal
	if where == remote {
		code = sdk.Unavailable
	}
	lower := strings.ToLower(cause)
	for _, known := range []struct {
		code  sdk.Code
		words []string
	}{
		{sdk.Denied, []string{"unauthorized", "access to the resource is denied", "authentication required", "forbidden", "invalid username/password"}},
		{sdk.NotFound, []string{"manifest unknown", "name unknown", "repository name not known"}},
		{sdk.Unavailable, []string{"no space left on device"}},
	} {
		for _, word := range known.words {
			if strings.Contains(lower, word) {
				code = known.code
			}
		}
	}
	return sdk.Errorf(code, "buildah %s: %s", command, cause)
}

// lastLine is what a failure is about.
func lastLine(text string) string {
	return strings.TrimSpace(strings.TrimPrefix(printed.LastLine(text), "Error: "))
}
