package main

import (
	"context"
	"path/filepath"

	"github.com/iib-engine/iib/plugins/composer/internal/build"
	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/pack"
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

// newBackend returns what makes images on this host. config returns the build
// settings of a compose.
func newBackend(s *Settings, cacheDir string, way gateway.Way, config func(*compose.Params) compose.Config) (*backend, error) {
	solver, err := dnf.New(dnf.Options{
		CacheDir: filepath.Join(cacheDir, "dnf"), Arch: s.Basearch, ReleaseVer: s.Releasever,
		Rule: way.Rule, CAFile: way.CAFile,
	})
	if err != nil {
		return nil, err
	}
	builder := build.New(build.Options{
		Packages: solver, Git: way, Push: s.Push,
		Config: func(p *compose.Params) any { return config(p) },
	})
	return &backend{solver: solver, kinds: func() []compose.Kind { return kinds(s.Basearch) }, build: builder.Run}, nil
}

// kinds are the types of images; which of them can be made changes when
// programs are installed.
func kinds(arch string) []compose.Kind {
	var list []compose.Kind
	for _, t := range pack.Types(arch) {
		kind := compose.Kind{
			Name: t.Name, ImageName: t.ImageName, Boots: t.Bootable, Compression: t.Compression, CompressArgs: t.CompressArgs,
		}
		if !t.Enabled {
			kind.Disabled = t.Why
		}
		list = append(list, kind)
	}
	return list
}
