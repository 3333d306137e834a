package engine

import (
	"context"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// gateAttempts bounds how often a gate that could not decide is asked.
const gateAttempts = 4

// Gate asks the gates of the request's type, in the order of the file, until one
// denies it. A gate that cannot decide ends the attempt; whether there is
// another one, its code says.
func (h *jobHost) Gate(ctx context.Context, images []sdk.Image) error {
	gates := h.lineup.Gates(h.request.Type)
	if len(gates) == 0 {
		h.log.line(sdk.LevelDebug, "no gate judges requests of type "+h.request.Type)
	}
	for _, gate := range gates {
		verdict, err := h.ask(ctx, gate, &sdk.GateRequest{Request: h.request.Request, Images: images})
		if err != nil {
			code := sdk.CodeOf(err)
			if code == sdk.Denied {
				code = sdk.Internal // somebody denied something to the gate: that is no verdict
			}
			return sdk.Errorf(code, "gate %s could not decide: %v", gate.Plugin, err)
		}
		if !verdict.Allowed {
			reason := verdict.Reason
			if reason == "" {
				reason = "it gave no reason"
			}
			return sdk.Errorf(sdk.Denied, "gate %s denied the request: %s", gate.Plugin, reason)
		}
		h.log.line(sdk.LevelInfo, "gate "+gate.Plugin+" allowed the request")
	}
	return nil
}

// ask repeats a gate's call while it is unavailable.
func (h *jobHost) ask(ctx context.Context, gate core.Gate, request *sdk.GateRequest) (sdk.Verdict, error) {
	pause := 250 * time.Millisecond
	for attempt := 1; ; attempt++ {
		call, ended := h.span(ctx, "gate "+gate.Plugin)
		verdict, err := gate.Check(call, request)
		ended(err)
		if sdk.CodeOf(err) != sdk.Unavailable || attempt == gateAttempts {
			return verdict, err
		}
		h.log.line(sdk.LevelWarn, "gate "+gate.Plugin+" is asked again: "+err.Error())
		select {
		case <-ctx.Done():
			return sdk.Verdict{}, err
		case <-time.After(pause):
		}
		pause *= 2
	}
}
