// Package gitsource finds out what a ref of somebody's git repository is.
package gitsource

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/git"
	"github.com/iib-engine/iib/sdk"
)

// timeout bounds a clone with its archive: a compose is accepted while its user
// waits.
const timeout = 5 * time.Minute

// Resolve clones a repository below dir, makes an archive of a ref and drops
// both. It returns the commit that the ref is. Nothing stays in dir.
func Resolve(ctx context.Context, way gateway.Way, dir, repo, ref string) (commit string, err error) {
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
	g, err := git.Open(way, work, repo)
	if err != nil {
		return "", sdk.Errorf(sdk.CodeOf(err), "Failed to clone %s: %v", repo, err)
	}
	defer g.Close()
	clone := filepath.Join(work, "clone")
	if _, err := run(ctx, g, nil, "clone", "--quiet", "--no-checkout", "--template=", "--", g.Address, clone); err != nil {
		if fault := g.Fault(); fault != nil {
			err = fault
		}
		return "", sdk.Errorf(sdk.Invalid, "Failed to clone %s: %v", repo, err)
	}
	failed := func(err error) error {
		return sdk.Errorf(sdk.Invalid, "Failed to archive %s from ref %q: %v", repo, ref, err)
	}
	out, err := run(ctx, g, nil, "-C", clone, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if err != nil {
		return "", failed(err)
	}
	commit = strings.TrimSpace(out)
	if _, err := run(ctx, g, io.Discard, "-C", clone, "archive", "--format=tar", commit); err != nil {
		return "", failed(err)
	}
	return commit, nil
}

// run returns what git prints, unless it goes to out.
func run(ctx context.Context, g *git.Git, out io.Writer, args ...string) (string, error) {
	var printed bytes.Buffer
	if out == nil {
		out = &printed
	}
	command := g.Command(args...)
	command.Stdout = out
	if err := command.Run(ctx); err != nil {
		return "", err
	}
	return printed.String(), nil
}
