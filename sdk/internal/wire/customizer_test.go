package wire

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iib-engine/iib/sdk"
)

var bundleOptions = cmpopts.IgnoreUnexported(sdk.Bundle{})

// open serves one customizer and makes an instance of it.
func open(t *testing.T, f func(context.Context, *sdk.Bundle) error) *CustomizerClient {
	t.Helper()
	conn := serve(t, sdk.Plugin{Customizers: map[string]sdk.Customizer{"edit": &customizerFunc{f}}}, nil)
	c, err := conn.OpenCustomizer(t.Context(), "edit", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCustomizer(t *testing.T) {
	t.Run("a bundle travels whole and its changes come back", func(t *testing.T) {
		bundle, want := filled[sdk.Bundle](), filled[sdk.Bundle]()
		c := open(t, func(_ context.Context, b *sdk.Bundle) error {
			diff(t, "bundle in the plugin", &want, b, bundleOptions)
			b.Package += "-cmp"
			b.Labels = map[string]string{"only": "this"}
			b.Image = "a change that is not for the plugin to make"
			return nil
		})
		if err := c.Customize(t.Context(), &bundle); err != nil {
			t.Fatal(err)
		}
		want.Package += "-cmp"
		want.Labels = map[string]string{"only": "this"}
		diff(t, "bundle afterwards", want, bundle, bundleOptions)
	})

	t.Run("a failure leaves the bundle as it was", func(t *testing.T) {
		bundle, want := filled[sdk.Bundle](), filled[sdk.Bundle]()
		c := open(t, func(_ context.Context, b *sdk.Bundle) error {
			b.Package = "half-done"
			return errors.New("no")
		})
		if err := c.Customize(t.Context(), &bundle); err == nil {
			t.Fatal("no error")
		}
		diff(t, "bundle afterwards", want, bundle, bundleOptions)
	})

	t.Run("each block has an instance of its own, with defaults of the prototype", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Customizers: map[string]sdk.Customizer{"suffix": &suffixer{Suffix: "-x"}}}, nil)
		packages := make(map[string]int)
		for _, config := range []string{`{}`, `{"suffix": "-y"}`} {
			c, err := conn.OpenCustomizer(t.Context(), "suffix", []byte(config))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				b := &sdk.Bundle{Package: "etcd"}
				if err := c.Customize(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				packages[b.Package]++
			}
		}
		diff(t, "packages", map[string]int{"etcd-x1": 1, "etcd-x2": 1, "etcd-y1": 1, "etcd-y2": 1}, packages)
	})

	t.Run("wrong settings are refused before there is an instance", func(t *testing.T) {
		conn := serve(t, sdk.Plugin{Customizers: map[string]sdk.Customizer{"suffix": &suffixer{}}}, nil)
		for _, call := range []func(config string) error{
			func(config string) error {
				_, err := conn.OpenCustomizer(t.Context(), "suffix", []byte(config))
				return err
			},
			func(config string) error {
				return conn.ValidateCustomizer(t.Context(), "suffix", []byte(config))
			},
		} {
			err := call(`{"suffix": "no hyphen"}`)
			want := sdk.FieldErrorf("suffix", "suffix must begin with a hyphen")
			diff(t, "error", want, err, cmpopts.IgnoreUnexported(sdk.Error{}))
		}
	})

	t.Run("a released instance is closed and refused", func(t *testing.T) {
		closed := make(chan string, 1)
		conn := serve(t, sdk.Plugin{Customizers: map[string]sdk.Customizer{"suffix": &suffixer{closed: closed}}}, nil)
		c, err := conn.OpenCustomizer(t.Context(), "suffix", []byte(`{"suffix": "-z"}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-closed; got != "-z" {
			t.Errorf("closed %q", got)
		}
		if err := c.Customize(t.Context(), new(sdk.Bundle)); sdk.CodeOf(err) != sdk.Conflict {
			t.Errorf("got %v, want a conflict", err)
		}
	})
}

// suffixer counts its calls, to tell instances apart.
type suffixer struct {
	Suffix string `hcl:"suffix,optional"`
	calls  int
	closed chan string
}

func (s *suffixer) Validate() error {
	if s.Suffix == "" || s.Suffix[0] == '-' {
		return nil
	}
	return sdk.FieldErrorf("suffix", "suffix must begin with a hyphen")
}

func (s *suffixer) Customize(_ context.Context, b *sdk.Bundle) error {
	s.calls++
	b.Package += s.Suffix + string(rune('0'+s.calls))
	return nil
}

func (s *suffixer) Close() error {
	if s.closed != nil {
		s.closed <- s.Suffix
	}
	return nil
}

// bundleRecorder is an sdk.BundleHost that remembers.
type bundleRecorder struct {
	line       sdk.LogLine
	name, path string
	image      string
	access     sdk.Access
}

func (r *bundleRecorder) Log(_ context.Context, line sdk.LogLine) error { r.line = line; return nil }

func (r *bundleRecorder) Artifact(_ context.Context, name, path string) error {
	r.name, r.path = name, path
	return nil
}

func (r *bundleRecorder) Access(_ context.Context, image string) (sdk.Access, error) {
	r.image = image
	return r.access, nil
}

func TestBundleHost(t *testing.T) {
	recorder := &bundleRecorder{access: filled[sdk.Access]()}
	line := filled[sdk.LogLine]()
	var access sdk.Access
	c := open(t, func(ctx context.Context, b *sdk.Bundle) error {
		if err := b.Host().Log(ctx, line); err != nil {
			return err
		}
		if err := b.Artifact(ctx, "report", "/dir/report.json"); err != nil {
			return err
		}
		var err error
		access, err = b.Access(ctx, "quay.io/a/b:1")
		return err
	})
	if err := c.Customize(t.Context(), new(sdk.Bundle).WithHost(recorder)); err != nil {
		t.Fatal(err)
	}
	diff(t, "what the engine was told", &bundleRecorder{
		line, "report", "/dir/report.json", "quay.io/a/b:1", recorder.access,
	}, recorder, cmpAllowUnexported)
	diff(t, "access", recorder.access, access)
}
