package weldr

import (
	"mime"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/library"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// perName collects what is wrong with single names of a request.
type perName []message

// note keeps an error that is about one name. Others are errors of the request.
func (p *perName) note(err error, format func(error) message) error {
	if sdk.CodeOf(err) == sdk.Internal {
		return err
	}
	*p = append(*p, format(err))
	return nil
}

func (p perName) refusal() fault.Many {
	var many fault.Many
	for _, m := range p {
		many = append(many, fault.New(m.ID, "%s", m.Msg))
	}
	return many
}

// unknownAs shows an unknown blueprint in the words of a route.
func unknownAs(name, text string) func(error) message {
	return func(err error) message {
		if fault.Is(err, fault.UnknownBlueprint) {
			return message{ID: fault.UnknownBlueprint, Msg: name + ": " + text}
		}
		return message{ID: fault.ID(err, fault.BlueprintsError), Msg: name + ": " + err.Error()}
	}
}

func (s *Server) listBlueprints(c *call) error {
	branch, err := c.branch()
	if err != nil {
		return err
	}
	p, err := c.page()
	if err != nil {
		return err
	}
	names, err := s.Library.Names(branch)
	if err != nil {
		return err
	}
	p.Total = len(names)
	return c.ok(struct {
		Blueprints []string `json:"blueprints"`
		page
	}{cut(names, p), p})
}

// several runs do for each blueprint that the path names, in order.
func (s *Server) several(c *call, do func(branch, name string) error) (toml bool, err error) {
	branch, err := c.branch()
	if err != nil {
		return false, err
	}
	if toml, err = c.wantsTOML(); err != nil {
		return false, err
	}
	names, err := c.blueprintNames()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if err := c.Context().Err(); err != nil {
			return false, err
		}
		if err := do(branch, name); err != nil {
			return false, err
		}
	}
	return toml, nil
}

func (s *Server) showBlueprints(c *call) error {
	type change struct {
		Name    string `json:"name"`
		Changed bool   `json:"changed"`
	}
	answer := struct {
		Blueprints []*blueprint.Blueprint `json:"blueprints"`
		Changes    []change               `json:"changes"`
		Errors     perName                `json:"errors"`
	}{[]*blueprint.Blueprint{}, []change{}, perName{}}
	toml, err := s.several(c, func(branch, name string) error {
		b, changed, err := s.Library.Current(branch, name)
		if err != nil {
			return answer.Errors.note(err, unknownAs(name, ""))
		}
		answer.Blueprints = append(answer.Blueprints, b)
		answer.Changes = append(answer.Changes, change{name, changed})
		return nil
	})
	switch {
	case err != nil:
		return err
	case !toml:
		return c.ok(answer)
	case len(answer.Errors) > 0:
		return answer.Errors.refusal()
	}
	return c.toml(joinTOML(answer.Blueprints))
}

// joinTOML joins texts by a blank line.
func joinTOML(list []*blueprint.Blueprint) string {
	texts := make([]string, 0, len(list))
	for _, b := range list {
		texts = append(texts, b.TOML())
	}
	return strings.Join(texts, "\n")
}

func (s *Server) listChanges(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	type change struct {
		Commit    string `json:"commit"`
		Message   string `json:"message"`
		Revision  *int   `json:"revision"`
		Timestamp string `json:"timestamp"`
	}
	type changes struct {
		Name    string   `json:"name"`
		Total   int      `json:"total"`
		Changes []change `json:"changes"`
	}
	answer := struct {
		Blueprints []changes `json:"blueprints"`
		Errors     perName   `json:"errors"`
		Offset     int       `json:"offset"`
		Limit      int       `json:"limit"`
	}{[]changes{}, perName{}, p.Offset, p.Limit}
	if _, err := s.several(c, func(branch, name string) error {
		all, err := s.Library.Changes(c.Context(), branch, name)
		if err != nil {
			return answer.Errors.note(err, asMessage)
		}
		part := changes{name, len(all), []change{}}
		for _, one := range cut(all, p) {
			shown := change{Commit: one.Commit, Message: one.Message, Timestamp: one.Time.Format(time.RFC3339)}
			if one.Revision > 0 {
				shown.Revision = &one.Revision
			}
			part.Changes = append(part.Changes, shown)
		}
		answer.Blueprints = append(answer.Blueprints, part)
		return nil
	}); err != nil {
		return err
	}
	return c.ok(answer)
}

func (s *Server) showChange(c *call) error {
	toml, err := c.wantsTOML()
	if err != nil {
		return err
	}
	if _, err := c.branch(); err != nil {
		return err
	}
	if err := c.blueprintArgs(); err != nil {
		return err
	}
	commit, err := s.Library.At(c.args[0], c.args[1])
	switch {
	case err != nil:
		return err
	case toml:
		return c.toml(commit.TOML())
	}
	return c.ok(commit.Blueprint)
}

// posted reads the blueprint that a client sends.
func (c *call) posted() (*blueprint.Blueprint, error) {
	kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && kind != "text/x-toml" {
		return nil, fault.New(fault.BlueprintsError, "The Content-Type must be application/json or text/x-toml")
	}
	data, err := c.body(library.MaxSize, fault.BlueprintsError)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fault.New(fault.BlueprintsError, "Missing blueprint")
	}
	if kind == "application/json" {
		return blueprint.ParseJSON(data)
	}
	return blueprint.ParseTOML(string(data))
}

func (s *Server) saveBlueprint(c *call) error { return store(c, s.Library.Save) }

func (s *Server) saveWorkspace(c *call) error { return store(c, s.Library.SetWorkspace) }

func store(c *call, do func(branch string, b *blueprint.Blueprint) error) error {
	branch, err := c.branch()
	if err != nil {
		return err
	}
	b, err := c.posted()
	if err != nil {
		return err
	}
	if err := do(branch, b); err != nil {
		return err
	}
	return c.done()
}

// onBlueprint does something to the blueprint that the path names.
func onBlueprint(c *call, do func(branch, name string) error) error {
	branch, err := c.branch()
	if err != nil {
		return err
	}
	if err := c.blueprintArgs(); err != nil {
		return err
	}
	if err := do(branch, c.args[0]); err != nil {
		return err
	}
	return c.done()
}

func (s *Server) deleteBlueprint(c *call) error { return onBlueprint(c, s.Library.Delete) }

func (s *Server) deleteWorkspace(c *call) error { return onBlueprint(c, s.Library.RemoveWorkspace) }

func (s *Server) undoBlueprint(c *call) error {
	return onBlueprint(c, func(branch, name string) error { return s.Library.Undo(branch, name, c.args[1]) })
}

func (s *Server) tagBlueprint(c *call) error {
	return onBlueprint(c, func(branch, name string) error {
		err := s.Library.Tag(c.Context(), branch, name)
		if sdk.CodeOf(err) == sdk.Invalid && fault.ID(err, "") == "" {
			return fault.As(fault.BlueprintsError, err, "")
		}
		return err
	})
}

func (s *Server) diffBlueprint(c *call) error {
	branch, err := c.branch()
	if err != nil {
		return err
	}
	if err := c.blueprintArgs(); err != nil {
		return err
	}
	diff, err := s.Library.Diff(branch, c.args[0], c.args[1], c.args[2])
	if err != nil {
		return err
	}
	return c.ok(struct {
		Diff []blueprint.Difference `json:"diff"`
	}{diff})
}

// solved solves the current state of a blueprint.
func (s *Server) solved(c *call, branch, name string) (*blueprint.Blueprint, *solve.Solution, error) {
	b, _, err := s.Library.Current(branch, name)
	if err != nil {
		return nil, nil, err
	}
	sources, err := s.Sources.All()
	if err != nil {
		return b, nil, err
	}
	solution, err := s.Solver.Solve(c.Context(), sources, b.Wishes(), false)
	if err != nil {
		return b, nil, fault.As(fault.BlueprintsError, err, "")
	}
	return b, solution, nil
}

func (s *Server) depsolveBlueprints(c *call) error {
	type result struct {
		Blueprint    *blueprint.Blueprint `json:"blueprint"`
		Dependencies []solve.Package      `json:"dependencies"`
		Modules      []solve.Package      `json:"modules"`
	}
	answer := struct {
		Blueprints []result `json:"blueprints"`
		Errors     perName  `json:"errors"`
	}{[]result{}, perName{}}
	if _, err := s.several(c, func(branch, name string) error {
		b, solution, err := s.solved(c, branch, name)
		r := result{b, []solve.Package{}, []solve.Package{}}
		if err != nil {
			if b != nil {
				answer.Blueprints = append(answer.Blueprints, r)
			}
			return answer.Errors.note(err, unknownAs(name, "blueprint not found"))
		}
		r.Dependencies = append(r.Dependencies, solution.Packages...)
		r.Modules = append(r.Modules, blueprint.Named(solution)...)
		answer.Blueprints = append(answer.Blueprints, r)
		return nil
	}); err != nil {
		return err
	}
	return c.ok(answer)
}

func (s *Server) freezeBlueprints(c *call) error {
	type result struct {
		Blueprint *blueprint.Blueprint `json:"blueprint"`
	}
	answer := struct {
		Blueprints []result `json:"blueprints"`
		Errors     perName  `json:"errors"`
	}{[]result{}, perName{}}
	var frozen []*blueprint.Blueprint
	toml, err := s.several(c, func(branch, name string) error {
		b, solution, err := s.solved(c, branch, name)
		if err != nil {
			return answer.Errors.note(err, unknownAs(name, "blueprint_not_found"))
		}
		b = b.Freeze(solution)
		frozen = append(frozen, b)
		answer.Blueprints = append(answer.Blueprints, result{b})
		return nil
	})
	switch {
	case err != nil:
		return err
	case toml:
		return c.toml(joinTOML(frozen))
	}
	return c.ok(answer)
}
