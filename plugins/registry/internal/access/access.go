// Package access decides who may do what in which repository.
package access

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
	"github.com/iib-engine/iib/sdk"
)

// Right is what somebody may do in a repository. Each right includes the ones
// before it.
type Right int

const (
	None Right = iota
	Read
	Write
	Admin
)

func (r Right) String() string {
	return [...]string{"none", "read", "write", "admin"}[r]
}

// Anyone stands for every caller, also one that nobody authenticated, and
// Users for every caller that somebody did.
const (
	Anyone = "*"
	Users  = "@users"
)

// Rule gives rights in the repositories whose names fit a pattern.
type Rule struct {
	// Repository is a name, or one that ends in "/**" for all names below it,
	// or "**" for all names. In between, "*" stands for a part of a segment.
	Repository string
	// Readers, Writers and Admins are users, Anyone or Users.
	Readers, Writers, Admins []string
}

// Policy is a list of rules. The first whose pattern fits a repository decides
// for it; without one, nobody has any right. The zero Policy lets everybody do
// everything.
type Policy []Rule

// Check returns an error unless every pattern of the policy makes sense.
func (p Policy) Check() error {
	for _, rule := range p {
		if err := CheckPattern(rule.Repository); err != nil {
			return err
		}
	}
	return nil
}

// CheckPattern returns an error unless a pattern for repositories makes sense.
func CheckPattern(pattern string) error {
	base := pattern
	if pattern != "**" {
		base = strings.TrimSuffix(pattern, "/**")
	}
	if _, err := path.Match(base, ""); err != nil || pattern == "" || pattern != "**" && strings.Contains(base, "**") {
		return fmt.Errorf("pattern %q: want a repository's name, with * for a part of a segment, and /** at the end for all names below", pattern)
	}
	return nil
}

// Fits tells whether a repository's name fits a pattern.
func Fits(pattern, repository string) bool {
	if pattern == "**" {
		return true
	}
	if base, below := strings.CutSuffix(pattern, "/**"); below {
		for i := range repository {
			if repository[i] == '/' {
				if ok, _ := path.Match(base, repository[:i]); ok {
					return true
				}
			}
		}
		return false
	}
	ok, _ := path.Match(pattern, repository)
	return ok
}

// Scope is what a caller's token is good for: the most that it may do in some
// repositories, and reading the list of repositories if Catalog is in it.
// Elsewhere it may do nothing.
type Scope map[string]Right

// Catalog stands for the list of repositories in a Scope. No repository is called
// so.
const Catalog = "registry:catalog:*"

type scopeKey struct{}

// WithScope returns a context whose requests have the rights of a token only.
func WithScope(ctx context.Context, scope Scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, scope)
}

// Scoped reports whether a request came with a token.
func Scoped(r *http.Request) bool {
	_, limited := r.Context().Value(scopeKey{}).(Scope)
	return limited
}

// For returns the right of a request's caller in a repository: the user's own,
// within what its token is good for. scoped tells that the token is why it is
// not more.
func (p Policy) For(r *http.Request, repository string) (right Right, scoped bool) {
	right = p.Of(sdk.UserFrom(r), repository)
	scope, limited := r.Context().Value(scopeKey{}).(Scope)
	if limited && scope[repository] < right {
		return scope[repository], true
	}
	return right, false
}

// Lists tells whether a repository is in the list for a request's caller: the
// names of what the user may read, as far as a token is good for that.
func (p Policy) Lists(r *http.Request, repository string) bool {
	if scope, limited := r.Context().Value(scopeKey{}).(Scope); limited && scope[Catalog] >= Read {
		return p.Of(sdk.UserFrom(r), repository) >= Read
	}
	right, _ := p.For(r, repository)
	return right >= Read
}

// Of returns the right of a user, empty for an anonymous one, in a repository.
func (p Policy) Of(user, repository string) Right {
	if len(p) == 0 {
		return Admin
	}
	for _, rule := range p {
		if !Fits(rule.Repository, repository) {
			continue
		}
		named := func(list []string) bool {
			return slices.ContainsFunc(list, func(who string) bool {
				return who == Anyone || user != "" && (who == user || who == Users)
			})
		}
		switch {
		case named(rule.Admins):
			return Admin
		case named(rule.Writers):
			return Write
		case named(rule.Readers):
			return Read
		}
		return None
	}
	return None
}

// Caller returns who sent a request, for the record.
func Caller(r *http.Request) store.Actor {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		// Behind the engine the connection is a unix socket.
		address = ""
	}
	if address == "" {
		address, _, _ = strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
		address = strings.TrimSpace(address)
	}
	return store.Actor{User: sdk.UserFrom(r), Address: address, Agent: r.UserAgent()}
}
