package plugin

import (
	"encoding/json"
	"time"

	"github.com/iib-engine/iib/sdk/host"
)

// Kind is what iib.hcl permits a plugin to be.
type Kind string

const (
	KindHandler    Kind = "handler"
	KindGate       Kind = "gate"
	KindNotifier   Kind = "notifier"
	KindCustomizer Kind = "customizer"
	KindBuilder    Kind = "builder"
	KindService    Kind = "service"
)

// Spec is one plugin block.
type Spec struct {
	Name string
	Kind Kind
	// Path is the program.
	Path string
	// SHA256 is the hex digest that the program must have; empty trusts the file.
	SHA256 string
	// Requests are the request types that a gate judges, that a handler may
	// handle, or that a notifier hears of; empty means all.
	Requests []string
	// Timeout bounds a call of a gate, notifier, customizer or builder; 0 does
	// not. A notifier's call is bounded by who makes it.
	Timeout time.Duration
	// Attempts is how often a notifier is offered an event; 0 is the default.
	Attempts int
	// Mounts are the paths that a service answers.
	Mounts []string
	// Env is the process's environment; nothing else is inherited.
	Env map[string]string
	// Insecure admits a plugin that cannot speak TLS to the engine.
	Insecure bool
	// PassCredentials hands a client's credentials to a service.
	PassCredentials bool
	Limits          host.Limits
	// Fingerprint changes when anything in the block does: equal ones are the
	// same process across a reload.
	Fingerprint string
	// Values evaluates the config block against the schema that the program
	// describes.
	Values func(host.Schema) (json.RawMessage, error)
}

// StepSpec is one customize block of an organization.
type StepSpec struct {
	// Name is the customizer, Plugin the plugin that must offer it, if the
	// block says so.
	Name   string
	Plugin string
	Values func(host.Schema) (json.RawMessage, error)
}

// Config is what the roster is made from.
type Config struct {
	// Plugins are in the file's order.
	Plugins []Spec
	// Builder names the builder in force.
	Builder string
	// Steps are each organization's, in order.
	Steps map[string][]StepSpec
	// DefaultSteps are those of every other organization, and of none.
	DefaultSteps []StepSpec
}
