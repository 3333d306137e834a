package main

import (
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/omps/internal/api"
	"github.com/iib-engine/iib/plugins/omps/internal/cnr"
	"github.com/iib-engine/iib/plugins/omps/internal/greenwave"
	"github.com/iib-engine/iib/plugins/omps/internal/koji"
	"github.com/iib-engine/iib/plugins/omps/internal/store"
	"github.com/iib-engine/iib/sdk"
)

var (
	_ http.Handler  = (*service)(nil)
	_ sdk.Validator = (*service)(nil)
	_ sdk.Starter   = (*service)(nil)
)

// service is the push service, and the application registry if that is
// embedded.
type service struct {
	Settings

	now      func() time.Time
	push     http.Handler
	packages http.Handler // nil if the registry is another one
}

func newService() *service { return &service{Settings: defaultSettings(), now: time.Now} }

// Start implements sdk.Starter.
func (s *service) Start(ctx context.Context, host sdk.Host) error {
	reach, err := s.transport()
	if err != nil {
		return err
	}
	client := &http.Client{Transport: reach, CheckRedirect: noRedirect}
	organizations, err := s.organizations()
	if err != nil {
		return err
	}
	target, err := s.target(host, reach, client)
	if err != nil {
		return err
	}
	options := api.Options{
		Target: target, Organizations: organizations, MaxBody: s.MaxBody, MaxContent: s.MaxUncompressed,
		FirstRelease: s.DefaultRelease, Deadline: s.Deadline, Parallel: s.Parallel, Version: version(),
	}
	if k := s.Koji; k != nil {
		download, err := newMirrors(reach, host, k.Hub, k.Root)
		if err != nil {
			return err
		}
		options.Source = &koji.Client{Hub: k.Hub, Root: k.Root, HTTP: download, Timeout: s.RequestTimeout, MaxArchive: s.MaxUncompressed}
	}
	if g := s.Greenwave; g != nil {
		options.Gate = &greenwave.Client{URL: g.URL, Context: g.Context, ProductVersion: g.ProductVersion, HTTP: client, Timeout: s.RequestTimeout}
	}
	s.push = api.New(options)
	return nil
}

// noRedirect keeps credentials from being sent to where nobody has said.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (s *service) transport() (*http.Transport, error) {
	config, err := s.Files.Config()
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: s.RequestTimeout,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}, nil
}

// target returns where packages go.
func (s *service) target(host sdk.Host, reach http.RoundTripper, client *http.Client) (api.Target, error) {
	if s.Target == targetCNR {
		quay := s.Quay
		if quay == "" {
			quay = s.CNR
		}
		return &cnr.Client{URL: cnr.Base(s.CNR), QuayURL: cnr.Base(quay), HTTP: client, Timeout: s.RequestTimeout}, nil
	}
	address := s.Registry
	if s.Target == targetEmbedded {
		address = host.Address()
	}
	kept, err := store.New(store.Options{URL: address, Prefix: s.prefix(), Transport: reach, Own: host.Access})
	if err != nil {
		return nil, err
	}
	server := &cnr.Server{
		Store: kept, MaxBody: s.MaxPackage, MaxContent: 4 * s.MaxUncompressed, Now: s.now,
		Login: func(r *http.Request, authorization string) error { return kept.Login(r.Context(), authorization) },
	}
	s.packages = server
	within := &http.Client{Transport: cnr.Within{Handler: server}, CheckRedirect: noRedirect}
	return &kin{Client: &cnr.Client{URL: "http://within", HTTP: within, Timeout: s.RequestTimeout}, store: kept}, nil
}

// kin is the application registry of this process. Its packages are made public
// by the caller's own right; no token is needed.
type kin struct {
	*cnr.Client
	store *store.Store
}

// Publish implements api.Target.
func (k *kin) Publish(ctx context.Context, authorization, _, organization, repository string) error {
	return cnr.Published(k.store.SetPublic(ctx, authorization, store.Package{Namespace: organization, Name: repository}, true), organization, repository)
}

// Ping implements api.Target: the server is here, so its registry is asked.
func (k *kin) Ping(ctx context.Context) error { return k.store.Ping(ctx) }

// mount is where the engine has the service on its own port. A listener of the
// service's own has the same paths without it.
const mount = "/omps"

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, mount+"/") {
		r = r.Clone(r.Context())
		r.URL.Path = strings.TrimPrefix(r.URL.Path, mount)
		r.URL.RawPath = ""
	}
	if s.packages != nil && strings.HasPrefix(r.URL.Path, cnr.Prefix) {
		s.packages.ServeHTTP(w, r)
		return
	}
	s.push.ServeHTTP(w, r)
}

// version is the service's own.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
