package weldr

import (
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
)

// project is the form of a package with everything that is available of it.
type project struct {
	Name         string           `json:"name"`
	Summary      string           `json:"summary"`
	Description  string           `json:"description"`
	Homepage     string           `json:"homepage"`
	UpstreamVCS  string           `json:"upstream_vcs"`
	Builds       []build          `json:"builds"`
	Dependencies *[]solve.Package `json:"dependencies,omitempty"`
}

type build struct {
	Arch           string   `json:"arch"`
	Epoch          int      `json:"epoch"`
	Release        string   `json:"release"`
	BuildTime      string   `json:"build_time"`
	Changelog      string   `json:"changelog"`
	BuildConfigRef string   `json:"build_config_ref"`
	BuildEnvRef    string   `json:"build_env_ref"`
	Metadata       struct{} `json:"metadata"`
	Source         origin   `json:"source"`
}

type origin struct {
	License   string   `json:"license"`
	Version   string   `json:"version"`
	SourceRef string   `json:"source_ref"`
	Metadata  struct{} `json:"metadata"`
}

func showProject(p solve.Project) project {
	shown := project{Name: p.Name, Summary: p.Summary, Description: p.Description, Homepage: p.Homepage, UpstreamVCS: "UPSTREAM_VCS", Builds: []build{}}
	for _, b := range p.Builds {
		shown.Builds = append(shown.Builds, build{
			Arch: b.Arch, Epoch: b.Epoch, Release: b.Release, BuildTime: b.Built.UTC().Format("2006-01-02T15:04:05"),
			Changelog: b.Changelog, BuildConfigRef: "BUILD_CONFIG_REF", BuildEnvRef: "BUILD_ENV_REF",
			Source: origin{License: b.License, Version: b.Version, SourceRef: "SOURCE_REF"},
		})
	}
	return shown
}

// projects asks for packages by globs, all without any.
func (s *Server) projects(c *call, globs []string, id string) ([]solve.Project, error) {
	if err := s.checkDistro(c); err != nil {
		return nil, err
	}
	sources, err := s.Sources.All()
	if err != nil {
		return nil, err
	}
	found, err := s.Solver.Projects(c.Context(), sources, globs)
	if err != nil {
		return nil, fault.As(id, err, "")
	}
	return found, nil
}

func (s *Server) listProjects(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	found, err := s.projects(c, nil, fault.ProjectsError)
	if err != nil {
		return err
	}
	p.Total = len(found)
	answer := struct {
		Projects []project `json:"projects"`
		page
	}{[]project{}, p}
	for _, one := range cut(found, p) {
		answer.Projects = append(answer.Projects, showProject(one))
	}
	return c.ok(answer)
}

func (s *Server) showProjects(c *call) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	found, err := s.projects(c, names, fault.ProjectsError)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fault.New(fault.UnknownProject, "one of the requested projects does not exist: %s", strings.Join(names, ", "))
	}
	shown := []project{}
	for _, one := range found {
		shown = append(shown, showProject(one))
	}
	return c.ok(struct {
		Projects []project `json:"projects"`
	}{shown})
}

// depsolve solves package names.
func (s *Server) depsolve(c *call, names []string, id string) ([]solve.Package, error) {
	sources, err := s.Sources.All()
	if err != nil {
		return nil, err
	}
	wishes := solve.Wishes{Groups: []string{}}
	for _, name := range names {
		wishes.Packages = append(wishes.Packages, solve.Want{Name: name, Version: "*"})
	}
	solution, err := s.Solver.Solve(c.Context(), sources, wishes, false)
	if err != nil {
		return nil, fault.As(id, err, "")
	}
	return append([]solve.Package{}, solution.Packages...), nil
}

func (s *Server) depsolveProjects(c *call) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	if err := s.checkDistro(c); err != nil {
		return err
	}
	packages, err := s.depsolve(c, names, fault.ProjectsError)
	if err != nil {
		return err
	}
	return c.ok(struct {
		Projects []solve.Package `json:"projects"`
	}{packages})
}

func (s *Server) listModules(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	var names []string
	if len(c.args) > 0 {
		if names, err = c.names(); err != nil {
			return err
		}
	}
	found, err := s.projects(c, names, fault.ModulesError)
	if err != nil {
		return err
	}
	if len(names) > 0 && len(found) == 0 {
		return unknownModules(names)
	}
	type module struct {
		Name      string `json:"name"`
		GroupType string `json:"group_type"`
	}
	p.Total = len(found)
	answer := struct {
		Modules []module `json:"modules"`
		page
	}{[]module{}, p}
	for _, one := range cut(found, p) {
		answer.Modules = append(answer.Modules, module{one.Name, "rpm"})
	}
	return c.ok(answer)
}

func unknownModules(names []string) error {
	return fault.New(fault.UnknownModule, "one of the requested modules does not exist: %s", strings.Join(names, ", "))
}

func (s *Server) showModules(c *call) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	found, err := s.projects(c, names, fault.ModulesError)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return unknownModules(names)
	}
	shown := []project{}
	for _, one := range found {
		packages, err := s.depsolve(c, []string{one.Name}, fault.ModulesError)
		if err != nil {
			return err
		}
		p := showProject(one)
		p.Dependencies = &packages
		shown = append(shown, p)
	}
	return c.ok(struct {
		Modules []project `json:"modules"`
	}{shown})
}
