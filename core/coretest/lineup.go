package coretest

import (
	"maps"
	"net/http"
	"slices"

	"github.com/iib-engine/iib/core"
)

// Lineup is a core.Lineup made of values, and a roster that always lends it.
// Its fields are set before use.
type Lineup struct {
	Types      []core.Handler
	GateList   []core.Gate
	StepList   map[string][]core.Step
	TheBuilder *core.Builder
	Notified   []core.Notifier
	Mounts     map[string]http.Handler
	Incomplete bool
}

var _ core.Lineup = (*Lineup)(nil)

func (l *Lineup) Handler(requestType string) (core.Handler, bool) {
	i := slices.IndexFunc(l.Types, func(h core.Handler) bool { return h.Type == requestType })
	if i < 0 {
		return core.Handler{}, false
	}
	return l.Types[i], true
}

func (l *Lineup) Handlers() []core.HandlerType {
	types := make([]core.HandlerType, len(l.Types))
	for i, h := range l.Types {
		types[i] = h.HandlerType
	}
	return types
}

func (l *Lineup) Gates(string) []core.Gate { return l.GateList }

func (l *Lineup) Steps(organization string) ([]core.Step, error) {
	return l.StepList[organization], nil
}

func (l *Lineup) Organizations() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(l.StepList)), func(name string) bool { return name == "" })
}

func (l *Lineup) Builder() (core.Builder, bool) {
	if l.TheBuilder == nil {
		return core.Builder{}, false
	}
	return *l.TheBuilder, true
}

func (l *Lineup) Notifiers() []core.Notifier { return l.Notified }

// Acquire lends the line-up itself.
func (l *Lineup) Acquire() (core.Lineup, func()) { return l, func() {} }

func (l *Lineup) Complete() bool { return !l.Incomplete }

// Mount returns the handler of exactly this path.
func (l *Lineup) Mount(path string) (http.Handler, bool) {
	h, ok := l.Mounts[path]
	return h, ok
}

// Status tells nothing.
func (*Lineup) Status() []core.PluginStatus { return nil }
