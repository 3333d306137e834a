package sdk

import (
	"context"
	"net/http"
)

// Plugin names what a plugin program offers. Every field but Name is optional,
// and a program may offer several kinds; iib.hcl says which of them is used.
//
// The values are prototypes: their exported fields with an hcl tag are the
// plugin's configuration, filled once before use. Unexported fields are the
// plugin's own state. Every method may be called concurrently.
type Plugin struct {
	// Name is the plugin's own name: lower-case letters, digits and hyphens.
	Name string
	// Doc tells in one sentence what the plugin is for. `iib plugin describe`
	// shows it.
	Doc string
	// Config is a pointer to the struct that the config block fills. Nil means
	// that the one gate, notifier, builder, service or handler fills itself.
	// A program with more than one of these must set it.
	Config any

	// Handlers run requests, by request type ("add"). The type is also the
	// last part of the endpoint's path.
	Handlers map[string]Handler
	Gate     Gate
	Notifier Notifier
	// Customizers edit unpacked bundles, by the name used in a customize
	// block. Each value is a pointer to a struct and serves as a prototype: a
	// copy is configured for every block that names it.
	Customizers map[string]Customizer
	Builder     Builder
	// Service answers HTTP below the path that iib.hcl mounts it on. The
	// engine strips credentials and adds the caller's identity, which
	// UserFrom reads.
	Service http.Handler
}

// Validator is implemented by a configuration that has rules its types cannot
// express. It must not touch the network or the disk. A *Error with a Field is
// reported at that setting's line in iib.hcl.
type Validator interface {
	Validate() error
}

// Starter is implemented by a plugin that needs something before its first
// call. An error keeps the plugin from being used; it is tried again with
// back-off.
type Starter interface {
	Start(ctx context.Context, host Host) error
}

// Closer is implemented by a plugin that has something to give back. It is
// called once, after the last call has returned.
type Closer interface {
	Close() error
}

// UserHeader carries the identity of the caller to a service. The engine
// removes any such header that a client sent.
const UserHeader = "X-Iib-User"

// UserFrom returns the authenticated caller of a service's request, or "".
func UserFrom(r *http.Request) string { return r.Header.Get(UserHeader) }
