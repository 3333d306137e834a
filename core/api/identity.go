package api

import (
	"net/http"

	"github.com/iib-engine/iib/sdk"
)

// Identity finds out who calls.
type Identity interface {
	// User returns the caller's principal, verbatim, or "" for nobody. What the
	// caller presented and is not right is Denied; what cannot be judged now is
	// Unavailable.
	User(r *http.Request) (string, error)
	// Required tells whether protected endpoints refuse nobody.
	Required() bool
	// Challenges are the WWW-Authenticate values that ask a caller who it is.
	Challenges() []string
}

// caller returns who calls a protected endpoint.
func (s *server) caller(r *http.Request) (string, error) {
	identity := s.Identity()
	user, err := identity.User(r)
	switch {
	case sdk.CodeOf(err) == sdk.Denied:
		return "", &statusError{status: http.StatusUnauthorized, message: "The caller was not recognized: " + err.Error() + ".", challenges: identity.Challenges()}
	case err != nil:
		return "", err
	case user == "" && identity.Required():
		return "", &statusError{status: http.StatusUnauthorized, message: "This needs an authenticated user, and the request came without one.", challenges: identity.Challenges()}
	}
	return user, nil
}

// visitor returns who calls a mounted service. What the core does not recognize
// may be meant for the service, which then sees nobody and decides itself.
func (s *server) visitor(r *http.Request) (string, error) {
	user, err := s.Identity().User(r)
	if sdk.CodeOf(err) == sdk.Denied {
		return "", nil
	}
	return user, err
}
