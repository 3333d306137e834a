// Command hello-service is a service that greets the caller.
package main

import (
	"fmt"
	"net/http"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:    "hello-service",
		Doc:     "Greets the caller.",
		Service: &service{Greeting: "Hello"},
	})
}

type service struct {
	Greeting string `hcl:"greeting,optional" doc:"The first word."`
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user := sdk.UserFrom(r)
	if user == "" {
		user = "stranger"
	}
	fmt.Fprintf(w, "%s, %s! You asked for %s.\n", s.Greeting, user, r.URL.Path)
}
