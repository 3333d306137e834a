package main

import (
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestGate(t *testing.T) {
	g := sdktest.Gate(t, &gate{Registries: []string{"quay.io"}})
	got, err := g.Check(t.Context(), sdktest.GateRequest("docker.io/library/busybox:1"))
	if err != nil || got.Allowed {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTheRegistryDecides(t *testing.T) {
	g := sdktest.Gate(t, &gate{Registries: []string{"quay.io", "localhost:5000"}})
	for _, c := range []struct {
		image   string
		allowed bool
	}{
		{"quay.io/example/bundle:1", true},
		{"localhost:5000/bundle:1", true},
		{"localhost:5001/bundle:1", false},
		{"docker.io/library/busybox", false},
		{"busybox", false},
	} {
		t.Run(c.image, func(t *testing.T) {
			got, err := g.Check(t.Context(), sdktest.GateRequest("quay.io/example/other:1", c.image))
			if err != nil {
				t.Fatal(err)
			}
			if got.Allowed != c.allowed {
				t.Errorf("got %+v", got)
			}
			if !got.Allowed && !strings.Contains(got.Reason, `one of ["quay.io" "localhost:5000"]`) {
				t.Errorf("the reason does not say what to do: %s", got.Reason)
			}
		})
	}
	t.Run("no images", func(t *testing.T) {
		if got, err := g.Check(t.Context(), new(sdk.GateRequest)); err != nil || !got.Allowed {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}
