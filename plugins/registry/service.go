package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/iib-engine/iib/sdk"
)

var (
	_ http.Handler = (*service)(nil)
	_ sdk.Starter  = (*service)(nil)
	_ sdk.Closer   = (*service)(nil)
)

// service is the registry over a directory.
type service struct {
	app *handlers.App
}

// Start opens the registry in the plugin's data directory.
func (s *service) Start(ctx context.Context, host sdk.Host) error {
	data, _ := host.Dirs()
	return s.open(ctx, filepath.Join(data, "registry"))
}

func (s *service) open(ctx context.Context, dir string) (err error) {
	relayLogs()
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": dir},
			"delete":     {"enabled": true},
			"redirect":   {"disable": true},
			"cache":      {"blobdescriptor": "inmemory"},
		},
	}
	// Clients reach the engine under names that the registry does not know.
	config.HTTP.RelativeURLs = true
	config.Catalog.MaxEntries = 1000
	config.Log.AccessLog.Disabled = true
	// Layers that live elsewhere and lists with absent images are the
	// pusher's affair: an index is often copied for one architecture.
	config.Validation.Disabled = true

	// The handlers report a bad configuration by panicking.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open the registry in %s: %v", dir, r)
		}
	}()
	// The app outlives the call that starts it.
	s.app = handlers.NewApp(context.WithoutCancel(ctx), config)
	return nil
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.app.ServeHTTP(w, r)
}

// Close ends the background work of the registry.
func (s *service) Close() error {
	if s.app == nil {
		return nil
	}
	if err := s.app.Shutdown(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the registry: %w", err)
	}
	return nil
}
