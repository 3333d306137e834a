// Command log-notifier is a notifier that writes every event to the engine's
// log.
package main

import (
	"context"
	"log/slog"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:     "log-notifier",
		Doc:      "Writes every event to the engine's log.",
		Notifier: &notifier{Level: "info"},
	})
}

type notifier struct {
	Level string `hcl:"level,optional" doc:"Level of the lines: debug, info, warn or error."`
}

func (n *notifier) Validate() error {
	if err := new(slog.Level).UnmarshalText([]byte(n.Level)); err != nil {
		return sdk.FieldErrorf("level", "level: %q is none of debug, info, warn and error", n.Level)
	}
	return nil
}

func (n *notifier) Notify(ctx context.Context, e *sdk.Event) error {
	var level slog.Level
	_ = level.UnmarshalText([]byte(n.Level)) // Validate has seen it
	slog.Log(ctx, level, "event", "id", e.ID, "request", e.Request, "batch", e.Batch, "state", e.State)
	return nil
}
