// Package solve is what the rest of the plugin knows of RPM repositories: which
// packages there are, and which ones a wish list needs. It binds no technology;
// package dnf implements Solver.
package solve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Types of a Source.
const (
	BaseURL    = "yum-baseurl"
	MirrorList = "yum-mirrorlist"
	Metalink   = "yum-metalink"
)

// Source is an RPM repository with metadata (contract section 9).
type Source struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	URL        string   `json:"url"` // $releasever and $basearch are substituted when it is used
	CheckSSL   bool     `json:"check_ssl"`
	CheckGPG   bool     `json:"check_gpg"`
	GPGKeyURLs []string `json:"gpgkey_urls,omitempty"`
	Proxy      string   `json:"proxy,omitempty"`
	// Priority decides between sources that have the same package: the lowest
	// wins. 0 is the default, 99.
	Priority int `json:"priority,omitempty"`
	// System marks a source of the host's configuration. The places that it
	// names are reached even in networks that are denied to others.
	System bool `json:"system,omitempty"`
	// The files that the configuration of the system gives for TLS.
	CAFile   string `json:"ca_file,omitempty"`
	CertFile string `json:"cert_file,omitempty"`
	KeyFile  string `json:"key_file,omitempty"`
}

// Package is one build of a package.
type Package struct {
	Name    string `json:"name"`
	Epoch   int    `json:"epoch"`
	Version string `json:"version"`
	Release string `json:"release"`
	Arch    string `json:"arch"`
}

// EVRA is the form that a frozen blueprint has: version-release.arch, with
// epoch: in front unless the epoch is 0.
func (p Package) EVRA() string {
	evra := p.Version + "-" + p.Release + "." + p.Arch
	if p.Epoch != 0 {
		return fmt.Sprintf("%d:%s", p.Epoch, evra)
	}
	return evra
}

func (p Package) String() string { return p.Name + "-" + p.EVRA() }

// Compare orders packages by their names in lower case, then by the rest.
func (p Package) Compare(q Package) int {
	return cmp.Or(
		cmp.Compare(strings.ToLower(p.Name), strings.ToLower(q.Name)), cmp.Compare(p.Name, q.Name),
		cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Version, q.Version),
		cmp.Compare(p.Release, q.Release), cmp.Compare(p.Arch, q.Arch),
	)
}

// Sort orders packages as every answer shows them.
func Sort(packages []Package) { slices.SortFunc(packages, Package.Compare) }

// Want is a package that has to be installed (contract section 10). Both fields
// may be globs; an empty version, or "*", is any.
type Want struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Wishes are what has to be installed.
type Wishes struct {
	Packages []Want   `json:"packages"`
	Groups   []string `json:"groups"` // IDs of comps groups
}

// Solution is what to install.
type Solution struct {
	// Packages are all of them, sorted.
	Packages []Package
	// Matches are, for each of Wishes.Packages and in that order, those that it
	// stands for: more than one if its name is a glob.
	Matches [][]Package
}

// Project is a package name with everything that is available of it.
type Project struct {
	Name        string
	Summary     string
	Description string
	Homepage    string
	Builds      []Build
}

// Build is one available version of a project.
type Build struct {
	Package
	Built     time.Time // UTC
	Changelog string    // the text of the newest entry, or empty
	License   string
}

// Solver answers questions about repositories. It is safe for concurrent use.
//
// Its errors are *sdk.Error: Invalid if the question has no answer, with the
// solver's explanation; Unavailable if a source or the solver itself cannot be
// reached now, naming it.
type Solver interface {
	// Solve finds everything that the wishes need. With fresh, the metadata is
	// asked for anew; otherwise it is at most 6 hours old.
	Solve(ctx context.Context, sources []Source, wishes Wishes, fresh bool) (*Solution, error)
	// Projects returns what is available of the packages whose names match one
	// of the globs, sorted; all of them without globs. Builds that two sources
	// have count once.
	Projects(ctx context.Context, sources []Source, globs []string) ([]Project, error)
	// Check loads the metadata of one source, and fails if that is impossible.
	Check(ctx context.Context, source Source) error
}
