package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestNotify(t *testing.T) {
	buf := new(bytes.Buffer)
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(buf, nil)))

	n := sdktest.Notifier(t, &notifier{Level: "warn"})
	if err := n.Notify(t.Context(), sdktest.Event("complete")); err != nil {
		t.Fatal(err)
	}
	if got := buf.String(); !strings.Contains(got, "level=WARN msg=event id=1 request=1 batch=1 state=complete") {
		t.Errorf("got %s", got)
	}
}

func TestValidate(t *testing.T) {
	for level, want := range map[string]sdk.Code{"debug": "", "ERROR": "", "loud": sdk.Invalid, "": sdk.Invalid} {
		if err := (&notifier{Level: level}).Validate(); sdk.CodeOf(err) != want {
			t.Errorf("%q: got %v", level, err)
		}
	}
}
