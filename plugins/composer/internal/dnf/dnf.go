// Package dnf answers questions about RPM repositories with dnf, the package
// manager, in a helper process: Debian's and Fedora's python3-dnf both do.
package dnf

import (
	"context"
	_ "embed"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/denied"
)

// Python is where the interpreter is that distributions give the dnf module to.
// One that comes first on a search path may not have it.
const Python = "/usr/bin/python3"

// MaxAge is how old metadata may be that is not asked for anew.
const MaxAge = 6 * time.Hour

// Options are what a Solver needs to know.
type Options struct {
	// CacheDir keeps metadata. It is created, private to us; several processes
	// may share it, and it may be deleted at any time.
	CacheDir string
	// Python is the interpreter; empty is Python.
	Python string
	// Arch is the RPM architecture of the images; empty is this host's.
	Arch string
	// ReleaseVer stands for $releasever in URLs. Empty refuses such URLs.
	ReleaseVer string
	// Platform is the platform ID that module streams are judged by, such as
	// "platform:el9". Usually empty.
	Platform string
	// Rule tells where sources must not lead; nil denies nothing.
	Rule denied.Rule
	// CAFile has the authorities to trust for sources without a file of their
	// own; empty means the system's.
	CAFile string
	// Timeout bounds one call; 0 is 10 minutes, and 2 hours for Download.
	Timeout time.Duration
}

// Solver implements solve.Solver. Each call is a process of its own, that ends
// with the call's context and with this process.
type Solver struct {
	opts Options
}

var _ solve.Solver = (*Solver)(nil)

//go:embed helper.py
var script string

// New returns a solver. It does not look whether dnf is there: see Available.
func New(opts Options) (*Solver, error) {
	if opts.Python == "" {
		opts.Python = Python
	}
	if opts.Arch == "" {
		opts.Arch = HostArch()
	}
	if opts.CacheDir == "" {
		return nil, sdk.FieldErrorf("cache_dir", "dnf: no cache directory is given")
	}
	dir, err := filepath.Abs(opts.CacheDir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "dnf: %w", err)
	}
	opts.CacheDir = dir
	return &Solver{opts}, nil
}

// HostArch is what RPM calls this host's architecture.
func HostArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i686"
	}
	return runtime.GOARCH
}

// Arch is the RPM architecture of the images.
func (s *Solver) Arch() string { return s.opts.Arch }

// ReleaseVer is what stands for $releasever.
func (s *Solver) ReleaseVer() string { return s.opts.ReleaseVer }

// Available fails if dnf cannot be used on this host, with an Unavailable error
// that says what to install.
func (s *Solver) Available(ctx context.Context) error {
	_, err := s.call(ctx, question{Do: "check"}, nil)
	return err
}

// Solve implements solve.Solver.
func (s *Solver) Solve(ctx context.Context, sources []solve.Source, wishes solve.Wishes, fresh bool) (*solve.Solution, error) {
	if err := check(sources); err != nil {
		return nil, err
	}
	a, err := s.call(ctx, question{Do: "solve", Sources: sources, Wishes: &wishes, Fresh: fresh}, nil)
	if err != nil {
		return nil, err
	}
	solution := &solve.Solution{Packages: a.Packages, Matches: a.Matches}
	solve.Sort(solution.Packages)
	for _, m := range solution.Matches {
		solve.Sort(m)
	}
	return solution, nil
}

// Projects implements solve.Solver.
func (s *Solver) Projects(ctx context.Context, sources []solve.Source, globs []string) ([]solve.Project, error) {
	if err := check(sources); err != nil {
		return nil, err
	}
	a, err := s.call(ctx, question{Do: "projects", Sources: sources, Globs: globs, Changelogs: true}, nil)
	if err != nil {
		return nil, err
	}
	projects := make([]solve.Project, len(a.Projects))
	for i, p := range a.Projects {
		projects[i] = solve.Project{Name: p.Name, Summary: p.Summary, Description: p.Description, Homepage: p.Homepage}
		for _, b := range p.Builds {
			projects[i].Builds = append(projects[i].Builds, solve.Build{
				Package: b.Package, Built: time.Unix(b.Built, 0).UTC(), Changelog: b.Changelog, License: b.License,
			})
		}
	}
	slices.SortFunc(projects, func(a, b solve.Project) int {
		return solve.Package{Name: a.Name}.Compare(solve.Package{Name: b.Name})
	})
	return projects, nil
}

// Check implements solve.Solver.
func (s *Solver) Check(ctx context.Context, source solve.Source) error {
	if err := check([]solve.Source{source}); err != nil {
		return err
	}
	_, err := s.call(ctx, question{Do: "check", Sources: []solve.Source{source}, Fresh: true}, nil)
	return err
}

// File is a downloaded package. Its content has the checksum of the metadata,
// and a signature by one of the source's keys if the source asks for that.
type File struct {
	solve.Package
	Path     string
	Checksum string // "sha256:..."
	Source   string // the source's ID
	Built    time.Time
	// Size is of the file, Installed of what it brings.
	Size, Installed int64
}

// Download fetches exactly these packages into a directory, which must be
// empty. progress, which may be nil, hears of the bytes that came.
func (s *Solver) Download(ctx context.Context, sources []solve.Source, packages []solve.Package, dir string, progress func(done, total int64)) ([]File, error) {
	if err := check(sources); err != nil {
		return nil, err
	}
	a, err := s.call(ctx, question{Do: "download", Sources: sources, Packages: packages, Directory: dir, Fresh: true}, progress)
	if err != nil {
		return nil, err
	}
	files := make([]File, len(a.Files))
	for i, f := range a.Files {
		files[i] = File{
			Package: f.Package, Path: f.Path, Checksum: f.Checksum, Source: f.Source,
			Built: time.Unix(f.Built, 0).UTC(), Size: f.Size, Installed: f.Installed,
		}
	}
	slices.SortFunc(files, func(a, b File) int { return a.Compare(b.Package) })
	return files, nil
}

// check refuses sources that no repository can be behind, or that would let a
// URL pass for something else.
func check(sources []solve.Source) error {
	for _, s := range sources {
		switch s.Type {
		case solve.BaseURL, solve.MirrorList, solve.Metalink:
		default:
			return sdk.FieldErrorf("type", "source %s: type %q is none of %s, %s and %s", s.ID, s.Type, solve.BaseURL, solve.MirrorList, solve.Metalink)
		}
		for _, address := range append([]string{s.URL}, s.GPGKeyURLs...) {
			u, err := url.Parse(address)
			if err != nil || strings.ContainsAny(address, "\r\n\x00 ,") {
				return sdk.FieldErrorf("url", "source %s: %q is not a URL", s.ID, address)
			}
			switch {
			case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
			case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
			default:
				return sdk.FieldErrorf("url", "source %s: %q is not an http, https or file URL", s.ID, address)
			}
		}
	}
	return nil
}
