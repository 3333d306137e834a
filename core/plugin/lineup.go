package plugin

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// lineup is an immutable core.Lineup; the roster's lock guards refs alone.
type lineup struct {
	refs      int
	processes []*process

	handlers  map[string]core.Handler
	types     []core.HandlerType
	gates     []namedGate
	notifiers []core.Notifier
	builder   *core.Builder
	steps     map[string][]core.Step
	faults    map[string]error
	// organizations have steps of their own, or faults in them.
	organizations []string
}

type namedGate struct {
	core.Gate
	requests []string
}

// defaultOrganization holds the steps of every organization that has none.
const defaultOrganization = ""

// newLineup is called under the roster's lock.
func (r *Roster) newLineup() (*lineup, error) {
	l := &lineup{
		refs:     1,
		handlers: make(map[string]core.Handler),
		steps:    make(map[string][]core.Step),
		faults:   make(map[string]error),
	}
	for _, spec := range r.config.Plugins {
		p := r.processes[spec.Name]
		l.processes = append(l.processes, p)
		l.add(p, r.config.Builder)
	}
	for _, h := range l.handlers {
		l.types = append(l.types, h.HandlerType)
	}
	slices.SortFunc(l.types, func(a, b core.HandlerType) int { return strings.Compare(a.Type, b.Type) })
	var errs []error
	for organization, specs := range r.config.Steps {
		errs = append(errs, l.addSteps(organization, specs))
	}
	l.organizations = slices.Sorted(maps.Keys(r.config.Steps))
	errs = append(errs, l.addSteps(defaultOrganization, r.config.DefaultSteps))
	return l, errors.Join(errs...)
}

// add offers what a process is there for. A gate that could not be started is
// asked all the same, and gives no answer: leaving it out would let requests
// pass. Nor does a notifier miss what happens before it runs.
func (l *lineup) add(p *process, builder string) {
	name := p.spec.Name
	p.mu.Lock()
	d := p.description
	p.mu.Unlock()
	switch p.spec.Kind {
	case KindGate:
		l.gates = append(l.gates, namedGate{core.Gate{Plugin: name, Gate: gate{p}}, p.spec.Requests})
		return
	case KindNotifier:
		l.notifiers = append(l.notifiers, core.Notifier{
			Plugin: name, Notifier: notifier{p},
			Requests: p.spec.Requests, Timeout: p.spec.Timeout, Attempts: p.spec.Attempts,
		})
		return
	}
	if d == nil {
		return
	}
	switch p.spec.Kind {
	case KindHandler:
		l.addHandlers(p, d)
	case KindBuilder:
		if name == builder {
			l.builder = &core.Builder{Plugin: name, Builder: builderOf{p}}
		}
	case KindService:
		// A service may handle requests too: composing an image is one.
		l.addHandlers(p, d)
	}
}

// addHandlers offers the request types that the block allows. The first plugin
// in the file that handles a type has it.
func (l *lineup) addHandlers(p *process, d *host.Description) {
	for _, h := range d.Handlers {
		if len(p.spec.Requests) > 0 && !slices.Contains(p.spec.Requests, h.Type) {
			continue
		}
		if _, taken := l.handlers[h.Type]; taken {
			continue
		}
		l.handlers[h.Type] = core.Handler{
			HandlerType: core.HandlerType{Type: h.Type, Plugin: p.spec.Name, Doc: h.Doc, Accepts: h.Accepts, Previews: h.Previews},
			Handler:     &handler{p, h.Type, h.Accepts},
		}
	}
}

// addSteps resolves an organization's customize blocks. A fault in one of them
// is kept: it fails the requests of that organization, not all.
func (l *lineup) addSteps(organization string, specs []StepSpec) error {
	steps := make([]core.Step, 0, len(specs))
	for _, spec := range specs {
		step, err := l.step(spec)
		if err != nil {
			fault := sdk.Errorf(sdk.CodeOf(err), "organization %q, customize %q: %v", organization, spec.Name, err)
			l.faults[organization] = fault
			return fault
		}
		steps = append(steps, step)
	}
	l.steps[organization] = steps
	return nil
}

func (l *lineup) step(spec StepSpec) (core.Step, error) {
	for _, p := range l.processes {
		if p.spec.Kind != KindCustomizer || spec.Plugin != "" && spec.Plugin != p.spec.Name {
			continue
		}
		p.mu.Lock()
		d := p.description
		p.mu.Unlock()
		if d == nil {
			continue
		}
		for _, c := range d.Customizers {
			if c.Name != spec.Name {
				continue
			}
			values, err := spec.Values(c.Schema)
			if err != nil {
				return core.Step{}, err
			}
			return core.Step{Plugin: p.spec.Name, Name: c.Name, Customizer: customizer{p, c.Name, values}}, nil
		}
	}
	return core.Step{}, sdk.Errorf(sdk.Unavailable, "no plugin that runs offers this customization")
}

func (l *lineup) Handler(requestType string) (core.Handler, bool) {
	h, ok := l.handlers[requestType]
	return h, ok
}

func (l *lineup) Handlers() []core.HandlerType { return l.types }

func (l *lineup) Gates(requestType string) []core.Gate {
	var gates []core.Gate
	for _, g := range l.gates {
		if len(g.requests) == 0 || slices.Contains(g.requests, requestType) {
			gates = append(gates, g.Gate)
		}
	}
	return gates
}

func (l *lineup) Steps(organization string) ([]core.Step, error) {
	if err := l.faults[organization]; err != nil {
		return nil, err
	}
	if steps, ok := l.steps[organization]; ok {
		return steps, nil
	}
	return l.steps[defaultOrganization], l.faults[defaultOrganization]
}

func (l *lineup) Organizations() []string { return l.organizations }

func (l *lineup) Builder() (core.Builder, bool) {
	if l.builder == nil {
		return core.Builder{}, false
	}
	return *l.builder, true
}

func (l *lineup) Notifiers() []core.Notifier { return l.notifiers }
