// Package blueprint is the format of blueprints: reading, checking and writing
// them, their versions, and what differs between two (contract sections 4, 5
// and 7).
package blueprint

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
)

// Blueprint is a blueprint in its normal form.
type Blueprint struct {
	Name        string
	Description string
	// Version is empty if none was given, which only a workspace copy may have.
	Version  string
	Packages []Package
	Modules  []Package
	Groups   []Group
	// Customizations are as they were sent: nil, bool, string, int64, float64,
	// time.Time, []any and map[string]any.
	Customizations map[string]any
	Repos          []Repo
	Distro         string
	Arch           string
	Containers     []any
}

// Package is an RPM to install; both may be globs.
type Package struct {
	Name    string `json:"name" toml:"name"`
	Version string `json:"version" toml:"version"`
}

// Group is a comps group.
type Group struct {
	Name string `json:"name" toml:"name"`
}

// Repo is a git repository that becomes an RPM.
type Repo struct {
	RPMName     string `json:"rpmname" toml:"rpmname"`
	RPMVersion  string `json:"rpmversion" toml:"rpmversion"`
	RPMRelease  string `json:"rpmrelease" toml:"rpmrelease"`
	Summary     string `json:"summary" toml:"summary"`
	Repo        string `json:"repo" toml:"repo"`
	Ref         string `json:"ref" toml:"ref"`
	Destination string `json:"destination" toml:"destination"`
}

var nameForm = regexp.MustCompile(`\A[a-zA-Z0-9._-]+\z`)

// IsName tells whether a text may name a blueprint or a commit.
func IsName(s string) bool { return nameForm.MatchString(s) }

// File is the name of the file that a blueprint is kept in.
func File(name string) string { return strings.ReplaceAll(name, " ", "-") + ".toml" }

// CheckName refuses names outside the grammar.
func (b *Blueprint) CheckName() error {
	if !IsName(b.Name) {
		return fault.New(fault.InvalidChars, "Invalid characters in API path")
	}
	return nil
}

// tidy sorts what the normal form has sorted.
func (b *Blueprint) tidy() {
	byName := func(p, q Package) int { return folded(p.Name, q.Name) }
	slices.SortStableFunc(b.Packages, byName)
	slices.SortStableFunc(b.Modules, byName)
	slices.SortStableFunc(b.Groups, func(g, h Group) int { return folded(g.Name, h.Name) })
	slices.SortStableFunc(b.Repos, func(r, s Repo) int { return folded(r.Repo, s.Repo) })
}

func folded(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) }

// repos is the table of the form.
type repos struct {
	Git []Repo `json:"git" toml:"git"`
}

func (b *Blueprint) repos() *repos {
	if len(b.Repos) == 0 {
		return nil
	}
	return &repos{b.Repos}
}

// MarshalJSON writes the normal form.
func (b *Blueprint) MarshalJSON() ([]byte, error) {
	var version *string
	if b.Version != "" {
		version = &b.Version
	}
	return json.Marshal(struct {
		Name           string         `json:"name"`
		Description    string         `json:"description"`
		Version        *string        `json:"version"`
		Packages       []Package      `json:"packages"`
		Modules        []Package      `json:"modules"`
		Groups         []Group        `json:"groups"`
		Customizations map[string]any `json:"customizations,omitempty"`
		Repos          *repos         `json:"repos,omitempty"`
		Distro         string         `json:"distro,omitempty"`
		Arch           string         `json:"arch,omitempty"`
		Containers     []any          `json:"containers,omitempty"`
	}{
		b.Name, b.Description, version, listed(b.Packages), listed(b.Modules), listed(b.Groups),
		b.Customizations, b.repos(), b.Distro, b.Arch, b.Containers,
	})
}

// listed is never nil, which would be null.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Equal tells whether two blueprints say the same.
func (b *Blueprint) Equal(c *Blueprint) bool {
	return b.Name == c.Name && b.Description == c.Description && b.Version == c.Version &&
		slices.Equal(b.Packages, c.Packages) && slices.Equal(b.Modules, c.Modules) &&
		slices.Equal(b.Groups, c.Groups) && slices.Equal(b.Repos, c.Repos) &&
		b.Distro == c.Distro && b.Arch == c.Arch &&
		same(b.Customizations, c.Customizations) && same(b.Containers, c.Containers)
}

// Wishes are what has to be installed: the packages, then the modules.
func (b *Blueprint) Wishes() solve.Wishes {
	w := solve.Wishes{Packages: []solve.Want{}, Groups: []string{}}
	for _, list := range [][]Package{b.Packages, b.Modules} {
		for _, p := range list {
			w.Packages = append(w.Packages, solve.Want(p))
		}
	}
	for _, g := range b.Groups {
		w.Groups = append(w.Groups, g.Name)
	}
	return w
}

// Freeze returns the blueprint with the versions of a solution of its Wishes.
// Globs become the packages that they stand for.
func (b *Blueprint) Freeze(s *solve.Solution) *Blueprint {
	frozen := *b
	frozen.Packages = freeze(b.Packages, s.Matches)
	frozen.Modules = freeze(b.Modules, s.Matches[min(len(b.Packages), len(s.Matches)):])
	frozen.tidy()
	return &frozen
}

func freeze(list []Package, matches [][]solve.Package) []Package {
	var frozen []Package
	for i, p := range list {
		if i >= len(matches) || len(matches[i]) == 0 {
			frozen = append(frozen, p)
			continue
		}
		for _, match := range matches[i] {
			exact := Package{Name: match.Name, Version: match.EVRA()}
			if !slices.Contains(frozen, exact) {
				frozen = append(frozen, exact)
			}
		}
	}
	return frozen
}

// Named are the packages that the wishes name, sorted, each once.
func Named(s *solve.Solution) []solve.Package {
	named := slices.Concat(s.Matches...)
	solve.Sort(named)
	return slices.Compact(named)
}
