// Package gitsource finds out what a ref of somebody's git repository is, with
// the git program: it knows every kind of address that users may have.
package gitsource

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/sdk"
)

// timeout bounds a clone with its archive: a compose is accepted while its user
// waits.
const timeout = 5 * time.Minute

// settings keep git from asking anybody, from running anything that an address
// names, and from caring who owns a repository on this host.
const settings = `[safe]
	directory = *
[protocol "ext"]
	allow = never
[credential]
	helper =
[core]
	askPass = true
`

// Resolve clones a repository below dir, makes an archive of a ref and drops
// both. It returns the commit that the ref is. Nothing stays in dir.
func Resolve(ctx context.Context, dir, repo, ref string) (commit string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", sdk.Errorf(sdk.Unavailable, "make a directory for git: %w", err)
	}
	work, err := os.MkdirTemp(dir, "git-*")
	if err != nil {
		return "", sdk.Errorf(sdk.Unavailable, "make a directory for git: %w", err)
	}
	defer os.RemoveAll(work)
	g := git{dir: work}
	if err := os.WriteFile(g.config(), []byte(settings), 0o600); err != nil {
		return "", sdk.Errorf(sdk.Unavailable, "make a directory for git: %w", err)
	}
	clone := filepath.Join(work, "clone")
	if _, err := g.run(ctx, nil, "clone", "--quiet", "--no-checkout", "--template=", "--", repo, clone); err != nil {
		return "", sdk.Errorf(sdk.Invalid, "Failed to clone %s: %v", repo, err)
	}
	failed := func(err error) error {
		return sdk.Errorf(sdk.Invalid, "Failed to archive %s from ref %q: %v", repo, ref, err)
	}
	out, err := g.run(ctx, nil, "-C", clone, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if err != nil {
		return "", failed(err)
	}
	commit = strings.TrimSpace(out)
	if _, err := g.run(ctx, io.Discard, "-C", clone, "archive", "--format=tar", commit); err != nil {
		return "", failed(err)
	}
	return commit, nil
}

type git struct{ dir string }

func (g git) config() string { return filepath.Join(g.dir, "gitconfig") }

// run returns what git prints, unless it goes to out.
func (g git) run(ctx context.Context, out io.Writer, args ...string) (string, error) {
	var printed bytes.Buffer
	if out == nil {
		out = &printed
	}
	command := process.Command{
		Program: "git", Args: args, Dir: g.dir, Stdout: out,
		Env: []string{
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + g.config(), "GIT_TERMINAL_PROMPT=0",
			"GIT_SSH_COMMAND=ssh -oBatchMode=yes", "GIT_ALLOW_PROTOCOL=file:git:http:https:ssh",
		},
	}
	if err := command.Run(ctx); err != nil {
		return "", err
	}
	return printed.String(), nil
}
