// Package identity recognizes who calls the API: by a trusted proxy's header,
// a Kerberos ticket, a token of an OpenID Connect provider, or a token that the
// admin has handed out.
package identity

import (
	"net/http"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// Method recognizes callers in one way. Methods are safe for concurrent use.
type Method interface {
	// User returns the principal of a request that uses this method, verbatim,
	// and "" for a request that does not. What is presented and not right is
	// Denied; what cannot be judged now is Unavailable.
	User(r *http.Request) (string, error)
	// Challenge is the WWW-Authenticate value that asks for this method, or ""
	// for a method that clients cannot be asked for.
	Challenge() string
}

// Methods are those in use, side by side.
type Methods struct {
	// Optional lets callers be nobody.
	Optional bool
	List     []Method
}

// User returns the caller's principal by the first method that recognizes it,
// or "" for a request that presents nothing. If none recognizes what is
// presented, a method that could not judge it counts more than one that refuses
// it.
func (m *Methods) User(r *http.Request) (string, error) {
	var fault error
	for _, method := range m.List {
		user, err := method.User(r)
		if err == nil && user != "" {
			return user, nil
		}
		if err != nil && sdk.CodeOf(fault) != sdk.Unavailable {
			fault = err
		}
	}
	return "", fault
}

// Required tells whether protected endpoints refuse nobody.
func (m *Methods) Required() bool { return !m.Optional }

// Challenges are the WWW-Authenticate values of an answer to nobody.
func (m *Methods) Challenges() []string {
	var list []string
	for _, method := range m.List {
		challenge := method.Challenge()
		if challenge == "" || len(list) > 0 && list[len(list)-1] == challenge {
			continue
		}
		list = append(list, challenge)
	}
	return list
}

// authorization returns what the Authorization header has for a scheme. A request
// with several such headers has none: proxies differ about which one counts.
func authorization(r *http.Request, scheme string) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	name, rest, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(name, scheme) {
		return "", false
	}
	return strings.TrimSpace(rest), true
}
