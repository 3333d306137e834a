package access_test

import (
	"net/http/httptest"
	"testing"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/sdk"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		fits          bool
	}{
		{"**", "a", true},
		{"**", "a/b/c", true},
		{"a", "a", true},
		{"a", "a/b", false},
		{"a/*", "a/b", true},
		{"a/*", "a/b/c", false},
		{"a/**", "a", false},
		{"a/**", "a/b/c", true},
		{"a/**", "ab/c", false},
		{"*/x/**", "a/x/y", true},
		{"*/x/**", "a/y/x", false},
		{"team-*", "team-one", true},
		{"team-*", "teams", false},
	} {
		if err := access.CheckPattern(c.pattern); err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		}
		if got := access.Fits(c.pattern, c.name); got != c.fits {
			t.Errorf("%s fits %s: %v", c.pattern, c.name, got)
		}
	}
	for _, bad := range []string{"", "a/**/b", "a**", "[", "**/a"} {
		if access.CheckPattern(bad) == nil {
			t.Errorf("pattern %q was taken", bad)
		}
	}
}

func TestPolicy(t *testing.T) {
	policy := access.Policy{
		{Repository: "closed/**", Admins: []string{"root"}},
		{Repository: "open/*", Readers: []string{access.Anyone}, Writers: []string{access.Users}, Admins: []string{"root"}},
		{Repository: "**", Readers: []string{access.Users}},
	}
	for _, c := range []struct {
		user, repository string
		want             access.Right
	}{
		{"root", "closed/a", access.Admin},
		{"anna", "closed/a", access.None},
		{"", "open/a", access.Read},
		{"anna", "open/a", access.Write},
		{"root", "open/a", access.Admin},
		{"", "else", access.None},
		{"anna", "else", access.Read},
		{"*", "closed/a", access.None},
		{"@users", "else", access.Read},
	} {
		if got := policy.Of(c.user, c.repository); got != c.want {
			t.Errorf("%q in %s has %s, want %s", c.user, c.repository, got, c.want)
		}
	}
	if got := access.Policy(nil).Of("", "a"); got != access.Admin {
		t.Errorf("without rules: %s", got)
	}
}

func TestATokenNarrowsItsUsersRights(t *testing.T) {
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header.Set(sdk.UserHeader, "root")
	policy := access.Policy{{Repository: "a", Admins: []string{"root"}}}
	if right, scoped := policy.For(r, "a"); right != access.Admin || scoped {
		t.Errorf("without a token: %s %v", right, scoped)
	}
	r = r.WithContext(access.WithScope(r.Context(), access.Scope{"a": access.Read, "b": access.Admin}))
	if right, scoped := policy.For(r, "a"); right != access.Read || !scoped {
		t.Errorf("with a token to read: %s %v", right, scoped)
	}
	if right, scoped := policy.For(r, "b"); right != access.None || scoped {
		t.Errorf("a token gives what the user has not: %s %v", right, scoped)
	}
}

func TestCaller(t *testing.T) {
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.RemoteAddr = "192.0.2.1:5000"
	r.Header.Set("X-Forwarded-For", "198.51.100.7, 203.0.113.9")
	if got := access.Caller(r).Address; got != "192.0.2.1" {
		t.Errorf("address is %s", got)
	}
	r.RemoteAddr = "@"
	if got := access.Caller(r).Address; got != "198.51.100.7" {
		t.Errorf("behind the engine the address is %s", got)
	}
}
