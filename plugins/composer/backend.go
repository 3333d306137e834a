package main

import (
	"context"
	"path/filepath"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// backend is what knows packages and images.
type backend struct {
	solver solve.Solver
	// kinds returns the types of images.
	kinds func() []compose.Kind
	// build makes the image of a compose and stores its artifacts.
	build func(ctx context.Context, job *sdk.Job, params *compose.Params) error
}

// newBackend returns what makes images on this host.
func newBackend(s *Settings, cacheDir string) (*backend, error) {
	solver, err := dnf.New(dnf.Options{
		CacheDir: filepath.Join(cacheDir, "dnf"), Arch: s.Basearch, ReleaseVer: s.Releasever,
	})
	if err != nil {
		return nil, err
	}
	return &backend{
		solver: solver,
		kinds:  func() []compose.Kind { return nil },
		build: func(context.Context, *sdk.Job, *compose.Params) error {
			return sdk.Errorf(sdk.Internal, "there is nothing that packs images yet")
		},
	}, nil
}
