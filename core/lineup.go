package core

import (
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Lineup is the plugins that are in force at one moment. A request keeps the
// line-up that it began with, also when the configuration is reloaded.
type Lineup interface {
	// Handler returns the handler of a request type.
	Handler(requestType string) (Handler, bool)
	// Handlers returns all request types, sorted.
	Handlers() []HandlerType
	// Gates returns those that judge a request type, in the file's order, also
	// if they do not run: such a gate is Unavailable, and never passed over.
	Gates(requestType string) []Gate
	// Steps returns an organization's customizations in order; for an empty or
	// unknown organization the default ones.
	Steps(organization string) ([]Step, error)
	// Organizations returns the names of those with steps of their own, sorted.
	Organizations() []string
	// Builder returns the builder in force.
	Builder() (Builder, bool)
	// Notifiers returns those that are enabled, also if they do not run.
	Notifiers() []Notifier
}

// Handler is a plugin's handler of one request type.
type Handler struct {
	HandlerType
	sdk.Handler
}

// Gate is a plugin's gate.
type Gate struct {
	Plugin string
	sdk.Gate
}

// Step is one customization of an organization.
type Step struct {
	Plugin string
	Name   string
	sdk.Customizer
}

// Builder is a plugin's builder.
type Builder struct {
	Plugin string
	sdk.Builder
}

// Notifier is a plugin's notifier. The error of a call during which the
// plugin's process ended is Unavailable and has ReasonEnded.
type Notifier struct {
	Plugin string
	// Requests are the request types that it hears of; empty means all.
	Requests []string
	// Timeout bounds a call; Attempts is how often an event is offered before
	// it is parked. The engine has a default for 0.
	Timeout  time.Duration
	Attempts int
	sdk.Notifier
}

// ReasonEnded marks the error of a call during which the plugin's process
// ended: whatever it was called with may be the cause.
const ReasonEnded = "ended"

// PluginStatus is what there is to know of a plugin that iib.hcl names.
type PluginStatus struct {
	Name    string
	Kind    string
	Version string
	// SHA256 is the checksum of the program that was started last; of one that
	// never started, what the file demands, or empty.
	SHA256    string
	State     string
	Restarts  int
	LastError error
}
