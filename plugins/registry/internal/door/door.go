// Package door finds out who calls, for registries whose users are not known to
// the engine: by passwords in an htpasswd file, by robot accounts, and by the
// tokens that a registry's clients get for either.
package door

import (
	"net/http"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/sdk"
)

// Door lets requests in to a handler. Make one with New.
type Door struct {
	next   http.Handler
	policy access.Policy
	users  *passwords
	robots map[string]string
	tokens *tokens
	life   time.Duration
}

// Options are what a Door is made of.
type Options struct {
	// UsersFile is an htpasswd file with bcrypt hashes; empty means none. It is
	// read again when it has changed.
	UsersFile string
	// Robots are accounts for programs, by name, with their secrets.
	Robots map[string]string
	// Key signs tokens. Registries that share it take each other's.
	Key []byte
	// Life is how long a token is good for.
	Life time.Duration
	// Policy tells what a token may be asked for.
	Policy access.Policy
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// TokenPath is where clients get tokens.
const TokenPath = "/v2/token"

// service is what tokens are for, by the word of clients.
const service = "registry"

// New returns a door to next. A users file that cannot be read is an error.
func New(next http.Handler, o Options) (*Door, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Door{
		next: next, policy: o.Policy, robots: o.Robots, life: o.Life,
		tokens: &tokens{key: o.Key, now: o.Now},
	}
	if o.UsersFile != "" {
		d.users = newPasswords(o.UsersFile, o.Now)
		if err := d.users.load(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// ServeHTTP implements http.Handler. Who says nothing is who the engine says it
// is. Who says something wrong is let in nowhere.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == TokenPath {
		d.serveToken(w, r)
		return
	}
	scheme, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" {
		d.next.ServeHTTP(w, r)
		return
	}
	user, scope, ok := d.recognize(scheme, credentials, r)
	if !ok {
		w.Header().Set("WWW-Authenticate", d.Challenge(r, ""))
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"invalid credentials"}]}`, http.StatusUnauthorized)
		return
	}
	r = r.Clone(r.Context())
	if user == "" {
		r.Header.Del(sdk.UserHeader)
	} else {
		r.Header.Set(sdk.UserHeader, user)
	}
	r.Header.Del("Authorization")
	if scope != nil {
		r = r.WithContext(access.WithScope(r.Context(), scope))
	}
	d.next.ServeHTTP(w, r)
}

// recognize returns who has given such credentials.
func (d *Door) recognize(scheme, credentials string, r *http.Request) (user string, scope access.Scope, ok bool) {
	switch {
	case strings.EqualFold(scheme, "Basic"):
		user, password, ok := r.BasicAuth()
		return user, nil, ok && d.check(user, password)
	case strings.EqualFold(scheme, "Bearer"):
		if name, secret, found := strings.Cut(credentials, ":"); found {
			return name, nil, d.checkRobot(name, secret)
		}
		return d.tokens.verify(credentials)
	}
	return "", nil, false
}

// check tells whether a password is a user's or a robot's.
func (d *Door) check(user, password string) bool {
	if _, robot := d.robots[user]; robot {
		return d.checkRobot(user, password)
	}
	return d.users != nil && d.users.check(user, password)
}

func (d *Door) checkRobot(name, secret string) bool {
	want, known := d.robots[name]
	return equal(want, secret) && known && want != ""
}

// Challenge is the WWW-Authenticate header for a caller who has to say who it
// is.
func (d *Door) Challenge(r *http.Request, scope string) string {
	text := `Bearer realm="` + base(r) + TokenPath + `",service="` + service + `"`
	if scope != "" {
		text += `,scope="` + scope + `"`
	}
	return text
}

// base is the address under which the client has reached the registry.
func base(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if forwarded := r.Header.Get("X-Forwarded-Proto"); forwarded == "http" || forwarded == "https" {
		scheme = forwarded
	}
	if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" {
		host = forwarded
	}
	return scheme + "://" + strings.Map(func(c rune) rune {
		if c <= ' ' || c == '"' || c == '\\' || c > '~' {
			return -1
		}
		return c
	}, host)
}
