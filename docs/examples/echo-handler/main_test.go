package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestAccept(t *testing.T) {
	h := sdktest.Handler(t, "echo", new(handler))
	for _, c := range []struct {
		body any
		want sdk.Code
	}{
		{map[string]any{"text": "hello"}, ""},
		{map[string]any{"text": ""}, sdk.Invalid},
		{map[string]any{"text": 7}, sdk.Invalid},
		{map[string]any{}, sdk.Invalid},
		{[]string{"hello"}, sdk.Invalid},
	} {
		sub := sdktest.Submission("echo", c.body)
		if err := h.Accept(t.Context(), sub); sdk.CodeOf(err) != c.want {
			t.Errorf("%s: got %v, want code %q", sub.Body, err, c.want)
		}
	}
}

func TestHandle(t *testing.T) {
	h := sdktest.Handler(t, "echo", &handler{Times: 3})
	doc := h.Describe()
	r := &sdktest.Recorder{Doc: &doc}
	job := sdktest.NewJob(t, sdktest.Request("echo", params{Text: "ha"}), r)
	if err := h.Handle(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	var echo string
	if err := r.Record().Field("echo", &echo); err != nil || echo != "hahaha" {
		t.Errorf("got %q, %v", echo, err)
	}
	if d := cmp.Diff([]string{"Echoing 2 characters"}, r.Record().States); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
	if got := job.Outcome(); got != "Echoed" {
		t.Errorf("outcome: got %q", got)
	}
}
