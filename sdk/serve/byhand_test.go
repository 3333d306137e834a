package serve

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

// everything is of every kind, with settings of most types.
type everything struct {
	URL     string            `hcl:"url" doc:"Where it is."`
	Token   sdk.Secret        `hcl:"token,optional" doc:"What to say there."`
	Timeout time.Duration     `hcl:"timeout,optional" doc:"How long to wait."`
	Labels  map[string]string `hcl:"labels,optional"`
	Query   []struct {
		Product string `hcl:"product,label"`
		Context string `hcl:"context" doc:"What to ask."`
	} `hcl:"query,block" doc:"What to ask."`
	Proxy *struct {
		Hosts []string `hcl:"hosts"`
	} `hcl:"proxy,block"`
}

func (*everything) Check(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
	return sdk.Allow, nil
}
func (*everything) Notify(context.Context, *sdk.Event) error                  { return nil }
func (*everything) Handle(context.Context, *sdk.Job) error                    { return nil }
func (*everything) Build(context.Context, *sdk.BuildSpec) (sdk.Digest, error) { return "", nil }
func (*everything) Customize(context.Context, *sdk.Bundle) error              { return nil }

type suffix struct {
	everything
	Suffix string `hcl:"suffix"`
}

func TestByHand(t *testing.T) {
	all := &everything{Timeout: 30 * time.Second}
	p := sdk.Plugin{
		Name: "all-in-one", Doc: "Does everything.", Config: all,
		Handlers: map[string]sdk.Handler{"add": all}, Gate: all, Notifier: all, Builder: all,
		Customizers: map[string]sdk.Customizer{"suffix": new(suffix)}, Service: http.NotFoundHandler(),
	}
	const want = ` is a plugin of the iib engine: Does everything.

The engine starts it; it does nothing by itself. In iib.hcl:

  plugin "all-in-one" { kind = "handler" }    # requests of type add
  plugin "all-in-one" { kind = "gate" }
  plugin "all-in-one" { kind = "notifier" }
  plugin "all-in-one" { kind = "builder" }
  plugin "all-in-one" { kind = "service" }
  plugin "all-in-one" { kind = "customizer" }

Settings in its config block:

  url                 string           required       Where it is.
  token               secret           optional       What to say there.
  timeout             duration         default "30s"  How long to wait.
  labels              map of strings   optional
  query "PRODUCT" {}  block            any number     What to ask.
    context           string           required       What to ask.
  proxy {}            block            optional
    hosts             list of strings  required

Settings of customize "suffix":
`
	for _, c := range []struct {
		args   []string
		code   int
		stdout bool
	}{
		{nil, 1, false}, {[]string{"--help"}, 0, true}, {[]string{"-h"}, 0, true}, {[]string{"help"}, 0, true},
		{[]string{"serve"}, 1, false}, {[]string{"--help", "me"}, 1, false},
	} {
		t.Run("with "+strings.Join(append(c.args, "nothing more"), " and "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if got := run(p, c.args, &stdout, &stderr); got != c.code {
				t.Errorf("exit status %d, want %d", got, c.code)
			}
			text, other := stderr.String(), stdout.String()
			if c.stdout {
				text, other = other, text
			}
			if other != "" {
				t.Errorf("on the other stream: %s", other)
			}
			_, text, _ = strings.Cut(text, " is a plugin")
			text, _, _ = strings.Cut(text, "customize \"suffix\":\n")
			if d := cmp.Diff(want, " is a plugin"+text+"customize \"suffix\":\n"); d != "" {
				t.Errorf("text (-want +got):\n%s", d)
			}
		})
	}

	t.Run("with a wish for its version", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		if run(p, []string{"--version"}, &stdout, &stderr) != 0 || !strings.HasPrefix(stdout.String(), "all-in-one ") {
			t.Errorf("got %s%s", &stdout, &stderr)
		}
	})

	t.Run("although it is wrong", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		code := run(sdk.Plugin{Name: "empty"}, nil, &stdout, &stderr)
		if code != 1 || !strings.HasPrefix(stderr.String(), "plugin empty: it offers nothing") {
			t.Errorf("got %d and %s", code, &stderr)
		}
	})
}
