package main

import (
	"context"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/gitsource"
	"github.com/iib-engine/iib/plugins/composer/internal/ledger"
	"github.com/iib-engine/iib/plugins/composer/internal/library"
	"github.com/iib-engine/iib/plugins/composer/internal/plan"
	"github.com/iib-engine/iib/plugins/composer/internal/sources"
	"github.com/iib-engine/iib/plugins/composer/internal/turn"
	"github.com/iib-engine/iib/plugins/composer/internal/weldr"
	"github.com/iib-engine/iib/sdk"
)

var (
	_ http.Handler  = front{}
	_ sdk.Validator = (*service)(nil)
	_ sdk.Starter   = (*service)(nil)
)

// service is the composer: its settings, and what is made of them.
type service struct {
	Settings

	makeBackend backendMaker
	hostRelease string // a file; /etc/os-release but in tests

	backend *backend
	planner *plan.Planner
	api     *weldr.Server
	line    *turn.Line
	runs    runs
}

// backendMaker is newBackend, but in tests.
type backendMaker func(s *Settings, cacheDir string, way gateway.Way, config func(*compose.Params) compose.Config) (*backend, error)

func newService(makeBackend backendMaker) *service {
	return &service{Settings: defaultSettings(), makeBackend: makeBackend, hostRelease: "/etc/os-release"}
}

// Start implements sdk.Starter.
func (s *service) Start(_ context.Context, host sdk.Host) error {
	if err := s.complete(readOSRelease(s.hostRelease), rpmArch(runtime.GOARCH)); err != nil {
		return err
	}
	data, cache := host.Dirs()
	way := gateway.Way{Rule: host, CAFile: s.CA}
	backend, err := s.makeBackend(&s.Settings, cache, way, s.config)
	if err != nil {
		return err
	}
	dir := s.Blueprints
	if dir == "" {
		dir = filepath.Join(data, "blueprints")
	}
	distros := []string{s.Distro}
	kept, err := library.Open(dir, func(distro string) bool { return slices.Contains(distros, distro) })
	if err != nil {
		return err
	}
	added := sources.Open(data, s.system(), backend.solver.Check)
	composes, err := ledger.Open(host)
	if err != nil {
		return err
	}
	s.backend, s.line = backend, turn.New(s.Parallel)
	s.planner = &plan.Planner{
		Library: kept, Sources: added, Solver: backend.solver, Offered: backend.kinds, Arch: s.Basearch,
		Resolve: func(ctx context.Context, repo, ref string) (string, error) {
			return gitsource.Resolve(ctx, way, filepath.Join(cache, "git"), repo, ref)
		},
	}
	s.api = weldr.New(weldr.Options{
		Library: kept, Sources: added, Solver: backend.solver, Planner: s.planner, Ledger: composes, Host: host,
		Gone: s.runs.gone, Config: s.config, Distros: distros, Version: version(),
	})
	return nil
}

// config returns the build settings of a compose.
func (s *service) config(p *compose.Params) compose.Config {
	kind := compose.Kind{Name: p.Kind, ImageName: p.ImageName}
	if known := s.planner.Kind(p.Kind); known != nil {
		kind = *known
	}
	return p.Config(kind, s.Distro, s.Releasever)
}

// rpmArch is what RPM calls an architecture of Go.
func rpmArch(arch string) string {
	switch arch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i686"
	}
	return arch
}

// mount is where the engine has the service on its own port. A listener of the
// service's own has the same paths without it.
const mount = "/composer"

// front answers for a service.
type front struct{ service *service }

func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, mount+"/") {
		r = r.Clone(r.Context())
		r.URL.Path = strings.TrimPrefix(r.URL.Path, mount)
		r.URL.RawPath = ""
	}
	f.service.api.ServeHTTP(w, r)
}

// version is the service's own.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
