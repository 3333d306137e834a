package weldr

import (
	"context"
	"slices"
	"time"
)

const (
	// problemsKept is how long the list of problems is shown before it is made
	// anew: that takes a solve for each type with packages of its own.
	problemsKept    = time.Minute
	problemsTimeout = 20 * time.Second
)

type problems struct {
	list []string
	made time.Time
}

func (s *Server) currentProblems(ctx context.Context) []string {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if s.problems.list == nil || time.Since(s.problems.made) > problemsKept {
		ctx, cancel := context.WithTimeout(ctx, problemsTimeout)
		defer cancel()
		list := s.Planner.Problems(ctx)
		if ctx.Err() != nil {
			return list
		}
		s.problems = problems{list, time.Now()}
	}
	return s.problems.list
}

func (s *Server) showStatus(c *call) error {
	list := s.currentProblems(c.Context())
	return c.ok(struct {
		API           string   `json:"api"`
		Backend       string   `json:"backend"`
		Build         string   `json:"build"`
		DBSupported   bool     `json:"db_supported"`
		DBVersion     string   `json:"db_version"`
		SchemaVersion string   `json:"schema_version"`
		Msgs          []string `json:"msgs"`
		Messages      []string `json:"messages"`
	}{"1", "iib-composer", s.Version, true, "0", "0", list, list})
}

func (s *Server) listDistros(c *call) error {
	names := slices.Clone(s.Distros)
	slices.Sort(names)
	return c.ok(struct {
		Distros []string `json:"distros"`
	}{names})
}

func (s *Server) listTypes(c *call) error {
	if err := s.checkDistro(c); err != nil {
		return err
	}
	arch, err := c.query("arch", s.Planner.Arch)
	if err != nil {
		return err
	}
	type kind struct {
		Name    string `json:"name"`
		Enabled bool   `json:"enabled"`
	}
	kinds := []kind{}
	for _, k := range s.Planner.Kinds() {
		kinds = append(kinds, kind{k.Name, k.Disabled == "" && arch == s.Planner.Arch})
	}
	return c.ok(struct {
		Types []kind `json:"types"`
	}{kinds})
}
