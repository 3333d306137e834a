package wire

import (
	"context"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func TestNotifier(t *testing.T) {
	for _, kind := range []sdk.EventKind{sdk.RequestState, sdk.BatchState} {
		t.Run("an event of kind "+string(kind)+" travels whole", func(t *testing.T) {
			event := filled[sdk.Event]()
			event.Kind = kind
			calls := 0
			conn := serve(t, sdk.Plugin{Notifier: notifierFunc(func(_ context.Context, e *sdk.Event) error {
				calls++
				diff(t, "event", &event, e)
				return nil
			})}, nil)
			if err := conn.Notifier().Notify(t.Context(), &event); err != nil {
				t.Fatal(err)
			}
			if calls != 1 {
				t.Errorf("the notifier was called %d times", calls)
			}
		})
	}
}
