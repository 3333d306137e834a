// Command composer makes operating system images from blueprints: a service
// that speaks the Weldr API, so that composer-cli works against it, and the
// handler of the requests that its composes are.
package main

import (
	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() { serve.Plugin(newPlugin(newService(newBackend))) }

// newPlugin is what the program offers.
func newPlugin(s *service) sdk.Plugin {
	return sdk.Plugin{
		Name:     "composer",
		Doc:      "Makes operating system images from blueprints, and speaks the Weldr API.",
		Config:   s,
		Service:  front{s},
		Handlers: map[string]sdk.Handler{compose.Type: &handler{service: s}},
	}
}
