package main

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/oci"
	"github.com/iib-engine/iib/plugins/registry/internal/quay"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk"
)

var (
	_ http.Handler  = (*service)(nil)
	_ sdk.Validator = (*service)(nil)
	_ sdk.Starter   = (*service)(nil)
	_ sdk.Closer    = (*service)(nil)
)

// service is the registry over a directory.
type service struct {
	Settings

	now    func() time.Time
	store  *store.Store
	images http.Handler
	tags   http.Handler
	keeper *keeper
}

func newService() *service {
	return &service{Settings: defaultSettings(), now: time.Now}
}

// Start implements sdk.Starter: it opens the registry in the plugin's data
// directory.
func (s *service) Start(ctx context.Context, host sdk.Host) error {
	data, _ := host.Dirs()
	rules := newRules(&s.Settings)
	opened, err := store.Open(ctx, filepath.Join(data, "registry"), store.Options{
		Now: s.now, Rules: rules.of, Hold: s.Hold, MaxBlob: s.MaxBlob,
	})
	if err != nil {
		return err
	}
	policy := s.policy()
	s.store = opened
	s.keeper = newKeeper(opened, rules, s.CollectEvery, s.AuditFor, s.now)
	s.images = &oci.Handler{Store: opened, Policy: policy, ReadOnly: rules.readOnly}
	s.tags = &quay.Handler{
		Store: opened, Policy: policy, ReadOnly: rules.readOnly,
		PermanentRemoval: s.PermanentRemoval, Removed: s.keeper.kick, Now: s.now,
	}
	s.keeper.start()
	return nil
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/"):
		s.images.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/v1/"):
		s.tags.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// Close implements sdk.Closer: it waits for what is under way.
func (s *service) Close() error {
	if s.store == nil {
		return nil
	}
	s.keeper.stop()
	return s.store.Close()
}
