package wire

import (
	"context"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func TestGate(t *testing.T) {
	request := filled[sdk.GateRequest]()
	verdict := sdk.Verdict{Allowed: true, Reason: "All of it is known."}

	t.Run("a request and its verdict travel whole", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(_ context.Context, r *sdk.GateRequest) (sdk.Verdict, error) {
			diff(t, "request", &request, r)
			return verdict, nil
		})}, nil)
		got, err := conn.Gate().Check(t.Context(), &request)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "verdict", verdict, got)
	})

	t.Run("a request without anything travels as such", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(_ context.Context, r *sdk.GateRequest) (sdk.Verdict, error) {
			diff(t, "request", new(sdk.GateRequest), r)
			return sdk.Verdict{}, nil
		})}, nil)
		got, err := conn.Gate().Check(t.Context(), new(sdk.GateRequest))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "verdict", sdk.Verdict{}, got)
	})

	t.Run("a reason that is not UTF-8 is repaired", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Gate: gateFunc(func(context.Context, *sdk.GateRequest) (sdk.Verdict, error) {
			return sdk.Deny("label \xff"), nil
		})}, nil)
		got, err := conn.Gate().Check(t.Context(), new(sdk.GateRequest))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "verdict", sdk.Deny("label \uFFFD"), got)
	})
}
