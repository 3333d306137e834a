package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/door"
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

	now     func() time.Time
	store   *store.Store
	keeper  *keeper
	handler http.Handler
}

func newService() *service {
	return &service{Settings: defaultSettings(), now: time.Now}
}

// Start implements sdk.Starter: it opens the registry in the plugin's data
// directory.
func (s *service) Start(ctx context.Context, host sdk.Host) error {
	data, _ := host.Dirs()
	dir := filepath.Join(data, "registry")
	rules := newRules(&s.Settings)
	opened, err := store.Open(ctx, dir, store.Options{Now: s.now, Rules: rules.of, Hold: s.Hold, MaxBlob: s.MaxBlob})
	if err != nil {
		return err
	}
	policy := s.policy()
	keeper := newKeeper(opened, rules, s.CollectEvery, s.AuditFor, s.now)
	images := &oci.Handler{Store: opened, Policy: policy, ReadOnly: rules.readOnly}
	tags := &quay.Handler{
		Store: opened, Policy: policy, ReadOnly: rules.readOnly,
		PermanentRemoval: s.PermanentRemoval, Removed: keeper.kick, Now: s.now,
	}
	s.handler = split{images: images, tags: tags}
	if s.UsersFile != "" || len(s.Robots) > 0 {
		door, err := s.newDoor(dir, policy)
		if err != nil {
			return errors.Join(err, opened.Close())
		}
		images.Challenge, s.handler = door.Challenge, door
	}
	s.store, s.keeper = opened, keeper
	s.keeper.start()
	return nil
}

// split sends a request to the protocol that its path belongs to. Paths stay
// as they are: what looks like a detour to a mux is a name that is refused.
type split struct{ images, tags http.Handler }

func (s split) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/"):
		s.images.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/v1/"):
		s.tags.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// newDoor returns the door to the handler for callers that the engine does not
// know.
func (s *service) newDoor(dir string, policy access.Policy) (*door.Door, error) {
	key, err := tokenKey(filepath.Join(dir, "token.key"))
	if err != nil {
		return nil, err
	}
	robots := make(map[string]string)
	for _, r := range s.Robots {
		robots[r.Name] = r.Secret.Reveal()
	}
	return door.New(s.handler, door.Options{
		UsersFile: s.UsersFile, Robots: robots, Key: key, Life: s.TokenLife, Policy: policy, Now: s.now,
	})
}

// tokenKey returns the key in a file, which is made if it is missing: tokens
// outlive the process.
func tokenKey(path string) ([]byte, error) {
	const size = 32
	key := make([]byte, size)
	rand.Read(key)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = file.Write(key)
		return key, errors.Join(err, file.Close())
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the key of tokens: %w", err)
	}
	if key, err = os.ReadFile(path); err != nil {
		return nil, fmt.Errorf("read the key of tokens: %w", err)
	}
	if len(key) != size {
		return nil, fmt.Errorf("the key of tokens in %s is damaged; remove the file, and a new one is made", path)
	}
	return key, nil
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close implements sdk.Closer: it waits for what is under way.
func (s *service) Close() error {
	if s.store == nil {
		return nil
	}
	s.keeper.stop()
	return s.store.Close()
}
