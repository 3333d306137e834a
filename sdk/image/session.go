package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/iib-engine/iib/sdk"
)

// accessKey stands for credentials and address rules without showing them. It
// is kept in memory only.
type accessKey [sha256.Size]byte

func keyOf(a sdk.Access) accessKey {
	password := a.Password.Reveal()
	a.Password = ""
	// Encoding keeps "a"+"bc" apart from "ab"+"c".
	data, err := json.Marshal([]any{a.Username, password, a.PlainHTTP, a.CAFile, a.DeniedNetworks})
	if err != nil {
		panic(err) // strings and booleans always encode
	}
	return sha256.Sum256(data)
}

// session is an authenticated way to one repository of a registry.
type session struct {
	client *http.Client
	// still does not follow redirects.
	still     *http.Client
	base      string
	anonymous bool
	key       accessKey
}

type sessionKey struct {
	registry string
	scopes   string
	access   accessKey
}

type sessions struct {
	flights flights[sessionKey, *session]
	open    *lru[sessionKey, *session]
}

const (
	pull   = transport.PullScope
	push   = transport.PushScope
	remove = transport.DeleteScope
)

func scope(repository, actions string) string { return "repository:" + repository + ":" + actions }

// session returns a session for what actions need, making one when there is
// none. It is one exchange with the registry and perhaps its token service, so
// it belongs inside an attempt.
func (c *Client) session(ctx context.Context, ref Ref, access sdk.Access, scopes ...string) (*session, error) {
	key := sessionKey{ref.Registry, strings.Join(scopes, " "), keyOf(access)}
	if s, ok := c.sessions.open.get(key); ok {
		return s, nil
	}
	s, _, err := c.sessions.flights.do(ctx, key, func(ctx context.Context) (*session, error) {
		s, err := c.handshake(ctx, ref.Registry, access, scopes)
		if err == nil {
			s.key = key.access
			c.sessions.open.put(key, s, 1)
		}
		return s, err
	})
	return s, err
}

func (c *Client) handshake(ctx context.Context, host string, access sdk.Access, scopes []string) (*session, error) {
	var options []name.Option
	if access.PlainHTTP || isLoopback(host) {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(host, options...)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "registry %q: it is not a host name", host)
	}
	pool, err := c.network.pool(access)
	if err != nil {
		return nil, err
	}
	auth := authenticator(access)
	g := &guard{pool: pool, registry: registry.RegistryStr(), plain: access.PlainHTTP, errors: make(map[string]error)}

	ctx, dog := watch(ctx, c.timeout)
	defer dog.stop()
	rt, err := transport.NewWithContext(ctx, registry, auth, transport.NewUserAgent(g, "iib"), scopes)
	if err != nil {
		var answered *transport.Error
		switch {
		case errors.As(err, &answered):
			return nil, fromTransport(answered, auth == authn.Anonymous)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		return nil, g.handshakeError(err)
	}
	return &session{
		client: &http.Client{Transport: rt},
		still: &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
		// The transport puts the scheme that worked in place of this one.
		base:      "https://" + registry.RegistryStr(),
		anonymous: auth == authn.Anonymous,
	}, nil
}

func authenticator(access sdk.Access) authn.Authenticator {
	switch {
	case access.Username == "" && access.Password == "":
		return authn.Anonymous
	case access.Username == identityToken:
		return authn.FromConfig(authn.AuthConfig{IdentityToken: access.Password.Reveal()})
	}
	return authn.FromConfig(authn.AuthConfig{Username: access.Username, Password: access.Password.Reveal()})
}
