package core

import "github.com/iib-engine/iib/sdk"

// Lineup is the plugins that are in force at one moment. A request keeps the
// line-up that it began with, also when the configuration is reloaded.
type Lineup interface {
	// Handler returns the handler of a request type.
	Handler(requestType string) (Handler, bool)
	// Handlers returns all request types, sorted.
	Handlers() []HandlerType
	// Gates returns those that judge a request type, in the file's order.
	Gates(requestType string) []Gate
	// Steps returns an organization's customizations in order; for an empty or
	// unknown organization the default ones.
	Steps(organization string) ([]Step, error)
	// Builder returns the builder in force.
	Builder() (Builder, bool)
	// Notifiers returns those that are enabled.
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

// Notifier is a plugin's notifier.
type Notifier struct {
	Plugin string
	sdk.Notifier
}

// PluginStatus is what there is to know of a plugin that iib.hcl names.
type PluginStatus struct {
	Name    string
	Kind    string
	Version string
	// SHA256 is the checksum that the file demands; empty if it demands none.
	SHA256    string
	State     string
	Restarts  int
	LastError error
}
