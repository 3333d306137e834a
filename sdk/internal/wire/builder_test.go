package wire

import (
	"context"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func TestBuilder(t *testing.T) {
	spec := filled[sdk.BuildSpec]()

	t.Run("a spec and its digest travel whole", func(t *testing.T) {
		digest := filled[sdk.Digest]()
		conn := serve(t, sdk.Plugin{Builder: builderFunc(func(_ context.Context, s *sdk.BuildSpec) (sdk.Digest, error) {
			diff(t, "spec", &spec, s)
			return digest, nil
		})}, nil)
		got, err := conn.Builder().Build(t.Context(), &spec)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "digest", digest, got)
	})

	t.Run("what is no digest is the plugin's fault", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Builder: builderFunc(func(context.Context, *sdk.BuildSpec) (sdk.Digest, error) {
			return "latest", nil
		})}, nil)
		_, err := conn.Builder().Build(t.Context(), &spec)
		if sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("got %v, want an internal error", err)
		}
	})
}
