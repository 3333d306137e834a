// Package plan turns what a client asks of a compose into what its handler
// needs: it judges the body, resolves and solves the blueprint, and pins
// everything that may change later (contract section 11.2).
package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/history"
	"github.com/iib-engine/iib/plugins/composer/internal/library"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// Planner is what a compose is planned with. It is safe for concurrent use.
type Planner struct {
	Library *library.Library
	Sources interface {
		All() ([]solve.Source, error)
	}
	Solver solve.Solver
	// Offered are the types of images.
	Offered func() []compose.Kind
	// Arch is the architecture of images, in the words of RPM.
	Arch string
	// Resolve finds the commit of a ref of a git repository, or fails.
	Resolve func(ctx context.Context, repo, ref string) (commit string, err error)
}

// Body is what a client sends.
type Body struct {
	Blueprint string
	Kind      string
	Branch    string
	Size      int64
	Test      int
}

// MaxBody bounds a body, in bytes.
const MaxBody = 1 << 20

// Read judges a body. All that is wrong with it is in the error, a fault.Many.
func (p *Planner) Read(data []byte) (*Body, *library.Commit, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else {
			err = errors.New("there is something after the JSON value")
		}
	}
	if err != nil {
		return nil, nil, fault.Many{fault.New(fault.HTTPError, "The body is not JSON: %v", err)}
	}
	object, ok := value.(map[string]any)
	if !ok && value != nil {
		return nil, nil, fault.Many{fault.New(fault.HTTPError, "The body must be a JSON object")}
	}
	if len(object) == 0 {
		return nil, nil, fault.Many{fault.New(fault.MissingPost, "Missing POST body")}
	}
	var faults fault.Many
	refuse := func(id, format string, args ...any) { faults = append(faults, fault.New(id, format, args...)) }
	text := func(key string) string {
		s, ok := object[key].(string)
		if v := object[key]; v != nil && !ok {
			refuse(fault.ComposeError, "'%s' must be a string", key)
		}
		return s
	}
	number := func(key string) int64 {
		v := object[key]
		if v == nil {
			return 0
		}
		n, ok := v.(json.Number)
		i, err := n.Int64()
		if !ok || err != nil || i < 0 {
			refuse(fault.ComposeError, "'%s' must be a whole number that is not negative", key)
		}
		return i
	}
	b := &Body{
		Blueprint: text("blueprint_name"), Kind: text("compose_type"), Branch: text("branch"),
		Size: number("size"), Test: int(min(number("test"), 3)),
	}
	if b.Branch == "" {
		b.Branch = history.Master
	}
	if b.Test > 2 {
		refuse(fault.ComposeError, "'test' must be 0, 1 or 2")
	}
	// What a disk may have at most keeps a typing error from filling the host.
	if b.Size > 1<<50 {
		refuse(fault.ComposeError, "'size' is a number of bytes, and %d is too many", b.Size)
	}
	if object["upload"] != nil {
		refuse(fault.UploadError, "This service uploads nothing: leave 'upload' out, and fetch the image when it is finished")
	}
	var commit *library.Commit
	switch {
	case b.Blueprint == "":
		refuse(fault.UnknownBlueprint, "No 'blueprint_name' in the JSON request")
	case !blueprint.IsName(b.Blueprint):
		refuse(fault.InvalidChars, "Invalid characters in blueprint_name")
	default:
		if commit, err = p.Library.Newest(b.Branch, b.Blueprint); err != nil {
			if fault.ID(err, "") == "" {
				return nil, nil, err
			}
			refuse(fault.ID(err, ""), "%v", err)
		}
	}
	kinds := p.Kinds()
	kind := find(kinds, b.Kind)
	switch {
	case b.Kind == "":
		refuse(fault.BadComposeType, "No 'compose_type' in the JSON request")
	case kind == nil:
		var names []string
		for _, k := range kinds {
			names = append(names, "'"+k.Name+"'")
		}
		refuse(fault.BadComposeType, "Invalid compose type (%s), must be one of [%s]", b.Kind, strings.Join(names, ", "))
	case kind.Disabled != "":
		refuse(fault.BuildFailed, "Compose type %s is disabled: %s", b.Kind, kind.Disabled)
	}
	if len(faults) > 0 {
		return nil, nil, faults
	}
	return b, commit, nil
}

// Kinds are the types of images, sorted by name.
func (p *Planner) Kinds() []compose.Kind {
	kinds := slices.Clone(p.Offered())
	slices.SortFunc(kinds, func(a, b compose.Kind) int { return strings.Compare(a.Name, b.Name) })
	return kinds
}

func find(kinds []compose.Kind, name string) *compose.Kind {
	if i := slices.IndexFunc(kinds, func(k compose.Kind) bool { return k.Name == name }); i >= 0 {
		return &kinds[i]
	}
	return nil
}

// Kind returns a type of image, nil if there is none of that name.
func (p *Planner) Kind(name string) *compose.Kind { return find(p.Kinds(), name) }

// Plan returns what the handler needs, and what the user should know. Its
// errors have an id, except a fault of the disk.
func (p *Planner) Plan(ctx context.Context, body []byte) (*compose.Params, []string, error) {
	b, commit, err := p.Read(body)
	if err != nil {
		var many fault.Many
		if errors.As(err, &many) {
			return nil, nil, many.One()
		}
		return nil, nil, err
	}
	kind := p.Kind(b.Kind)
	if kind == nil {
		return nil, nil, fault.New(fault.BadComposeType, "Invalid compose type (%s)", b.Kind)
	}
	if a := commit.Arch; a != "" && a != p.Arch {
		return nil, nil, fault.New(fault.BuildFailed, "Blueprint %s is for %s, and this service makes images for %s", commit.Name, a, p.Arch)
	}
	all, err := p.Sources.All()
	if err != nil {
		return nil, nil, err
	}
	if len(all) == 0 {
		return nil, nil, fault.New(fault.BuildFailed, "There are no sources to take packages from: add one")
	}
	wishes := commit.Wishes()
	wishes.Packages = append(wishes.Packages, kind.Packages...)
	solution, err := p.Solver.Solve(ctx, all, wishes, true)
	if err != nil {
		return nil, nil, fault.As(fault.BuildFailed, err, fmt.Sprintf("Problem depsolving %s: ", commit.Name))
	}
	params := &compose.Params{
		UUID: uuid.NewString(), Name: commit.Name, Version: commit.Version, Commit: commit.Hash,
		Blueprint: commit.Text, Frozen: commit.Freeze(solution).TOML(), Customizations: commit.Customizations,
		Kind: kind.Name, ImageName: kind.ImageName, Size: b.Size,
		Packages: solution.Packages, Sources: all, Test: b.Test,
	}
	for _, r := range commit.Repos {
		pinned, err := p.Resolve(ctx, r.Repo, r.Ref)
		if err != nil {
			return nil, nil, fault.As(fault.BuildFailed, err, "")
		}
		params.Repos = append(params.Repos, compose.Repo{
			RPMName: r.RPMName, RPMVersion: r.RPMVersion, RPMRelease: r.RPMRelease, Summary: r.Summary,
			Repo: r.Repo, Ref: r.Ref, Destination: r.Destination, Commit: pinned,
		})
	}
	return params, warnings(commit.Blueprint, kind, solution), nil
}

func warnings(b *blueprint.Blueprint, kind *compose.Kind, s *solve.Solution) []string {
	list := []string{}
	if len(b.Containers) > 0 {
		list = append(list, "The containers of the blueprint are not put into the image: this service does not know how to.")
	}
	if kind.Boots && !slices.ContainsFunc(s.Packages, func(p solve.Package) bool { return p.Name == "kernel" || p.Name == "kernel-core" }) {
		list = append(list, fmt.Sprintf("No package brings a kernel: the %s image cannot be booted.", kind.Name))
	}
	return list
}

// Problems lists what keeps types of images from being made.
func (p *Planner) Problems(ctx context.Context) []string {
	problems := []string{}
	all, err := p.Sources.All()
	if err != nil {
		return append(problems, err.Error())
	}
	if len(all) == 0 {
		problems = append(problems, "There are no sources to take packages from.")
	}
	for _, kind := range p.Kinds() {
		switch {
		case kind.Disabled != "":
			problems = append(problems, fmt.Sprintf("Compose type %s is disabled: %s", kind.Name, kind.Disabled))
		case len(kind.Packages) > 0 && len(all) > 0:
			if _, err := p.Solver.Solve(ctx, all, solve.Wishes{Packages: kind.Packages}, false); err != nil {
				problems = append(problems, fmt.Sprintf("The packages of compose type %s cannot be solved: %v", kind.Name, err))
			}
		}
	}
	return problems
}

// Accept makes a plan of a submission.
func (p *Planner) Accept(ctx context.Context, sub *sdk.Submission) error {
	if len(sub.Body) > MaxBody {
		return fault.New(fault.ComposeError, "the body has more than %d bytes", MaxBody)
	}
	params, warnings, err := p.Plan(ctx, sub.Body)
	if err != nil {
		return err
	}
	if sub.Params, err = json.Marshal(params); err != nil {
		return err
	}
	for name, value := range map[string]any{
		compose.FieldUUID: params.UUID, compose.FieldBlueprint: params.Name, compose.FieldVersion: params.Version,
		compose.FieldType: params.Kind, compose.FieldWarnings: warnings,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}
