// Package gitrpm packs what is in git repositories into RPMs, and these into a
// repository of their own (contract section 4.2).
package gitrpm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/git"
	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// SourceID is what the repository of these RPMs is called.
const SourceID = "blueprint-repos-git"

// largest bounds an unpacked repository.
const largest = 16 << 30

var (
	rpmNames    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	rpmVersions = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~^]*$`)
	commits     = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
)

// Build makes an RPM of each and the repository's metadata in dir, which must
// be empty; work is an empty directory for what is left over. log gets what the
// programs say.
func Build(ctx context.Context, way gateway.Way, repos []compose.Repo, dir, work string, log func(string)) ([]solve.Package, error) {
	var packages []solve.Package
	for i, r := range repos {
		if err := check(r); err != nil {
			return nil, err
		}
		top := filepath.Join(work, strconv.Itoa(i))
		if err := os.MkdirAll(top, 0o700); err != nil {
			return nil, sdk.Errorf(sdk.Internal, "repos.git: %w", err)
		}
		p := &packer{Repo: r, way: way, top: top, dir: dir, log: log}
		if err := p.pack(ctx); err != nil {
			return nil, err
		}
		packages = append(packages, solve.Package{Name: r.RPMName, Version: r.RPMVersion, Release: r.RPMRelease, Arch: "noarch"})
	}
	p := &packer{top: work, log: log}
	if err := p.run(ctx, process.Command{Program: "createrepo_c", Args: []string{"--quiet", dir}, Dir: work}); err != nil {
		return nil, sdk.Errorf(sdk.CodeOf(err), "repos.git: make a repository of the packages: %w", err)
	}
	return packages, nil
}

// check refuses values that would be more than a value in a spec file.
func check(r compose.Repo) error {
	refuse := func(field, format string, args ...any) error {
		return sdk.Errorf(sdk.Invalid, "repos.git %s: %s %s", r.RPMName, field, fmt.Sprintf(format, args...))
	}
	switch {
	case !rpmNames.MatchString(r.RPMName) || len(r.RPMName) > 200:
		return sdk.Errorf(sdk.Invalid, "repos.git: %q is not a name for a package", r.RPMName)
	case !rpmVersions.MatchString(r.RPMVersion) || len(r.RPMVersion) > 100:
		return refuse("rpmversion", "%q is not a version", r.RPMVersion)
	case !rpmVersions.MatchString(r.RPMRelease) || len(r.RPMRelease) > 100:
		return refuse("rpmrelease", "%q is not a release", r.RPMRelease)
	case !commits.MatchString(r.Commit):
		return refuse("ref", "%q was not resolved to a commit", r.Ref)
	case strings.HasPrefix(r.Repo, "-"):
		return refuse("repo", "%q is no address", r.Repo)
	case !strings.HasPrefix(r.Destination, "/") || slices.Contains(strings.Split(r.Destination, "/"), ".."):
		return refuse("destination", "%q is not an absolute path", r.Destination)
	case strings.ContainsAny(r.Destination, `"\`):
		return refuse("destination", "%q has characters that no package can have", r.Destination)
	}
	for _, f := range []struct{ field, value string }{{"summary", r.Summary}, {"repo", r.Repo}, {"ref", r.Ref}, {"destination", r.Destination}} {
		if strings.ContainsFunc(f.value, unicode.IsControl) {
			return refuse(f.field, "has control characters")
		}
	}
	return nil
}

// packer makes one RPM below top.
type packer struct {
	compose.Repo
	way      gateway.Way
	top, dir string
	log      func(string)
}

// run logs what a program says.
func (p *packer) run(ctx context.Context, command process.Command) error {
	lines := &process.Lines{Each: func(line string) { p.log(command.Program + ": " + line) }}
	defer lines.Flush()
	command.Stdout, command.Stderr = lines, lines
	return command.Run(ctx)
}

func (p *packer) pack(ctx context.Context) error {
	archive := filepath.Join(p.top, "archive.tar")
	when, err := p.archive(ctx, archive)
	if err != nil {
		return err
	}
	if err := p.unpack(archive); err != nil {
		return err
	}
	if err := p.rpmbuild(ctx, when); err != nil {
		return sdk.Errorf(sdk.CodeOf(err), "repos.git %s: make the package: %w", p.RPMName, err)
	}
	return os.RemoveAll(p.top)
}

// archive writes the pinned commit as a tar, and returns its time.
func (p *packer) archive(ctx context.Context, to string) (time.Time, error) {
	g, err := git.Open(p.way, p.top, p.Repo.Repo)
	if err != nil {
		return time.Time{}, sdk.Errorf(sdk.CodeOf(err), "Failed to clone %s: %v", p.Repo.Repo, err)
	}
	defer g.Close()
	clone := filepath.Join(p.top, "clone")
	run := func(args ...string) error { return p.run(ctx, g.Command(args...)) }
	if err := run("clone", "--quiet", "--bare", "--template=", "--", g.Address, clone); err != nil {
		return time.Time{}, p.failed(ctx, g.Fault(), err, "Failed to clone %s", p.Repo.Repo)
	}
	if run("-C", clone, "cat-file", "-e", p.Commit+"^{commit}") != nil {
		// The ref has moved, so that nothing leads to the commit any more.
		if err := run("-C", clone, "fetch", "--quiet", "origin", p.Commit); err != nil {
			return time.Time{}, p.failed(ctx, g.Fault(), err, "Failed to archive %s from ref %q: the commit %s that it was is gone", p.Repo.Repo, p.Ref, p.Commit)
		}
	}
	if err := run("-C", clone, "archive", "--format=tar", "--output="+to, p.Commit); err != nil {
		return time.Time{}, p.failed(ctx, nil, err, "Failed to archive %s from ref %q", p.Repo.Repo, p.Ref)
	}
	var out bytes.Buffer
	command := g.Command("-C", clone, "show", "-s", "--format=%ct", p.Commit)
	command.Stdout = &out
	if err := command.Run(ctx); err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
	if err != nil || seconds < 1 {
		seconds = 1
	}
	return time.Unix(seconds, 0).UTC(), os.RemoveAll(clone)
}

// failed tells why git failed: of a fault of its way out, if that is not nil.
func (p *packer) failed(ctx context.Context, fault *sdk.Error, err error, format string, args ...any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fault != nil {
		return sdk.Errorf(sdk.Invalid, "%s: %v", fmt.Sprintf(format, args...), fault)
	}
	var failure *process.Failure
	if !errors.As(err, &failure) {
		return err
	}
	return sdk.Errorf(sdk.Invalid, "%s: %s", fmt.Sprintf(format, args...), failure)
}

// unpack writes the archive below the destination in the directory "root".
func (p *packer) unpack(archive string) error {
	base := filepath.Join(p.top, "root", filepath.FromSlash(path.Clean(p.Destination)))
	if err := os.MkdirAll(base, 0o755); err != nil {
		return sdk.Errorf(sdk.Internal, "repos.git: %w", err)
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "repos.git: %w", err)
	}
	defer root.Close()
	f, err := os.Open(archive)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "repos.git: %w", err)
	}
	defer f.Close()
	left := int64(largest)
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if err == io.EOF {
			return os.Remove(archive)
		}
		if err == nil {
			if left -= h.Size; left < 0 {
				return sdk.Errorf(sdk.Invalid, "repos.git %s: the repository has more than %d bytes", p.RPMName, int64(largest))
			}
			err = unpackOne(root, h, in)
		}
		if err != nil {
			return sdk.Errorf(sdk.Internal, "repos.git %s: unpack: %w", p.RPMName, err)
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, in io.Reader) error {
	name := path.Clean(h.Name)
	if h.Typeflag == tar.TypeXGlobalHeader || name == "." {
		return nil
	}
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
	default:
		return nil // git has nothing else
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = root.Chmod(name, mode)
	}
	return err
}

// rpmbuild runs no line that a user has written: the spec's only script copies
// one fixed directory.
func (p *packer) rpmbuild(ctx context.Context, when time.Time) error {
	files, err := p.files()
	if err != nil {
		return err
	}
	spec := "%global debug_package %{nil}\n%global __os_install_post %{nil}\n%global _build_id_links none\n" +
		"Name: " + p.RPMName + "\nVersion: " + p.RPMVersion + "\nRelease: " + p.RPMRelease + "\nSummary: " + literal(p.Summary, "Files of "+p.RPMName) +
		"\nLicense: Unknown\nURL: " + literal(p.Repo.Repo, "none") + "\nBuildArch: noarch\nAutoReqProv: no\n" +
		"%description\nCreated from " + literal(p.Repo.Repo, "") + ",\nref " + literal(p.Ref, "") + ", which was commit " + p.Commit + "\nof " + when.Format(time.RFC3339) + ".\n" +
		"%install\nmkdir -p %{buildroot}\ncp -a '" + p.top + "/root/.' %{buildroot}/\n" +
		"%files\n%defattr(-,root,root,-)\n" + strings.Join(files, "\n") + "\n"
	at := filepath.Join(p.top, "package.spec")
	if err := os.WriteFile(at, []byte(spec), 0o600); err != nil {
		return sdk.Errorf(sdk.Internal, "%w", err)
	}
	args := []string{"-bb", "--quiet", "--nodeps", "--target", "noarch"}
	for _, d := range []string{
		"_topdir " + p.top + "/top", "_rpmdir " + p.dir, "_dbpath " + p.top + "/db", "_tmppath " + p.top,
		"_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", "_binary_payload w6.gzdio", "_buildhost localhost",
		"use_source_date_epoch_as_buildtime 1", "clamp_mtime_to_source_date_epoch 1", "_binaries_in_noarch_packages_terminate_build 0",
		"_invalid_encoding_terminates_build 0",
	} {
		args = append(args, "--define", d)
	}
	return p.run(ctx, process.Command{
		Program: "rpmbuild", Args: append(args, at), Dir: p.top, Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix())},
	})
}

// files are what the package owns: the destination with all below it. The root
// of the system is not for a package to own.
func (p *packer) files() ([]string, error) {
	dest := path.Clean(p.Destination)
	if dest != "/" {
		return []string{listed(dest)}, nil
	}
	entries, err := os.ReadDir(filepath.Join(p.top, "root"))
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "%w", err)
	}
	var files []string
	for _, e := range entries {
		if strings.ContainsFunc(e.Name(), unicode.IsControl) || strings.ContainsAny(e.Name(), `"\`) {
			return nil, sdk.Errorf(sdk.Invalid, "no package can have a file %q", e.Name())
		}
		files = append(files, listed("/"+e.Name()))
	}
	return files, nil
}

// literal is a text that rpm expands to itself.
func literal(s, otherwise string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		s = otherwise
	}
	return strings.ReplaceAll(s, "%", "%%")
}

// listed is a path in a list of files, where patterns mean themselves.
func listed(p string) string {
	p = strings.NewReplacer("%", "%%", "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`).Replace(p)
	return `"` + p + `"`
}
