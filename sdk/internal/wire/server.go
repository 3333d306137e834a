package wire

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sync"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/internal/schema"
)

// Server is a plugin's end of the wire.
type Server struct {
	plugin   sdk.Plugin
	version  string
	settings any // what Configure fills, or nil
	values   []any
	broker   *goplugin.GRPCBroker
	// socketDir is where a service listens: the engine's private directory.
	socketDir string

	life   lifecycle
	engine *grpc.ClientConn // to the engine's services; these two are set by Start
	host   sdk.Host

	mu        sync.Mutex
	instances map[uint64]sdk.Customizer // by number, from 1
	last      uint64
	listener  *httpListener
}

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	typeForm = regexp.MustCompile(`^[a-z0-9]+([-_][a-z0-9]+)*$`)
)

// NewServer checks what the plugin's author wrote.
func NewServer(p sdk.Plugin, version string) (*Server, error) {
	s := &Server{plugin: p, version: version, instances: make(map[uint64]sdk.Customizer),
		socketDir: os.Getenv(goplugin.EnvUnixSocketDir)}
	var problems []error
	complain := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if !nameForm.MatchString(p.Name) {
		complain("the name %q must have lower-case letters, digits and hyphens only", p.Name)
	}
	s.values = valuesOf(&p)
	if len(s.values) == 0 && len(p.Customizers) == 0 {
		complain("it offers nothing: set Handlers, Gate, Notifier, Customizers, Builder or Service")
	}
	for name, h := range p.Handlers {
		if !typeForm.MatchString(name) || h == nil {
			complain("handler %q: a request type has lower-case letters, digits and hyphens, and a Handler", name)
		}
	}
	for name, c := range p.Customizers {
		if t := reflect.TypeOf(c); !typeForm.MatchString(name) || t == nil ||
			t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			complain("customizer %q: needs a name of lower-case letters, digits and underscores, and a pointer to a struct", name)
			continue
		}
		if _, err := schema.Of(c); err != nil {
			complain("customizer %q: %w", name, err)
		}
	}
	settings, err := settingsOf(&p, s.values)
	if err != nil {
		problems = append(problems, err)
	}
	s.settings = settings
	if settings != nil && !slices.ContainsFunc(s.values, func(v any) bool { return same(v, settings) }) {
		// What the others depend on is validated and started before them.
		s.values = append([]any{settings}, s.values...)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("plugin %s: %w", p.Name, errors.Join(problems...))
	}
	return s, nil
}

// valuesOf returns the plugin's distinct values but the customizers, which are
// prototypes, in the order in which they are started.
func valuesOf(p *sdk.Plugin) []any {
	var values []any
	add := func(v any) {
		if v != nil && !slices.ContainsFunc(values, func(have any) bool { return same(have, v) }) {
			values = append(values, v)
		}
	}
	for _, name := range sortedKeys(p.Handlers) {
		add(p.Handlers[name])
	}
	if p.Gate != nil {
		add(p.Gate)
	}
	if p.Notifier != nil {
		add(p.Notifier)
	}
	if p.Builder != nil {
		add(p.Builder)
	}
	if p.Service != nil {
		add(p.Service)
	}
	return values
}

// settingsOf returns the value that the config block fills, nil if there is
// none. Settings that nothing would fill are a mistake.
func settingsOf(p *sdk.Plugin, values []any) (any, error) {
	found := p.Config
	if found != nil {
		if t := reflect.TypeOf(found); t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("Config must be a pointer to a struct, not %T", found)
		}
		if _, err := schema.Of(found); err != nil {
			return nil, fmt.Errorf("Config: %w", err)
		}
	}
	for _, v := range values {
		if found != nil && same(found, v) {
			continue
		}
		empty, err := schema.Empty(v)
		switch {
		case err != nil:
			return nil, err
		case empty:
		case found != nil:
			return nil, fmt.Errorf("%T and %T both have settings: set Config to the one struct that has them all", found, v)
		default:
			found = v
		}
	}
	return found, nil
}

// same reports whether two values are one object. Functions never are.
func same(a, b any) bool {
	ta, tb := reflect.TypeOf(a), reflect.TypeOf(b)
	return ta == tb && ta.Comparable() && a == b
}

// Settings returns what Configure fills, or nil.
func (s *Server) Settings() any { return s.settings }

// Plugin returns what NewServer was given.
func (s *Server) Plugin() sdk.Plugin { return s.plugin }

func (s *Server) register(broker *goplugin.GRPCBroker, g *grpc.Server) {
	s.broker = broker
	pb.RegisterPluginServer(g, &pluginServer{server: s})
	pb.RegisterHandlerServer(g, &handlerServer{server: s})
	pb.RegisterGateServer(g, &gateServer{server: s})
	pb.RegisterNotifierServer(g, &notifierServer{server: s})
	pb.RegisterCustomizerServer(g, &customizerServer{server: s})
	pb.RegisterBuilderServer(g, &builderServer{server: s})
	pb.RegisterServiceServer(g, &serviceServer{server: s})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
