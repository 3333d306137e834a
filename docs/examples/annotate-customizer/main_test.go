package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestAnnotate(t *testing.T) {
	c := sdktest.Customizer(t, &annotate{Labels: map[string]string{"vendor": "example", "tier": "1"}})
	r := new(sdktest.Recorder)
	b := sdktest.Bundle(t, nil, r)
	b.SetLabel("tier", "2")
	b.SetLabel("other", "kept")
	if err := c.Customize(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"vendor": "example", "tier": "1", "other": "kept"}
	if d := cmp.Diff(want, b.Labels); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
	if got, want := r.Record().Text(), "set 2 labels on "+b.Image+"\n"; got != want {
		t.Errorf("log: got %q, want %q", got, want)
	}
}
