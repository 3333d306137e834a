package main

import (
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestHandle(t *testing.T) {
	h := sdktest.Handler(t, "compare", handler{})
	doc := h.Describe()
	for by, want := range map[string]string{"name": "different", "registry": "same"} {
		r := &sdktest.Recorder{Doc: &doc}
		params := map[string]string{"first": "q.io/a/b:1", "second": "q.io/a/b:2", "by": by}
		if err := h.Handle(t.Context(), sdktest.NewJob(t, sdktest.Request("compare", params), r)); err != nil {
			t.Fatal(err)
		}
		var verdict string
		if err := r.Record().Field("verdict", &verdict); err != nil || verdict != want {
			t.Errorf("by %s: got %q, %v", by, verdict, err)
		}
	}
}
