package params

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
)

func TestRegistryAuthsBecomeGrants(t *testing.T) {
	// The credentials are u:p, u:p:q and :p.
	o, err := Parse([]byte(`{"registry_auths": {"auths": {
		"quay.io/ns/repo": {"auth": "dTpw"},
		"https://index.docker.io/v1/": {"auth": "dTpwOnE="},
		"r.io": {"auth": "OnA="},
		"anonymous.io": {"auth": ""},
		"broken.io": {"auth": "???"},
		"half.io": {"auth": "dQ=="}
	}}}`))
	if err != nil {
		t.Fatal(err)
	}
	grants, unreadable, err := o.RegistryAuths("registry_auths")
	if err != nil {
		t.Fatal(err)
	}
	want := []sdk.Grant{
		{Scope: "anonymous.io"},
		{Scope: "docker.io", Username: "u", Password: "p:q"},
		{Scope: "quay.io/ns/repo", Username: "u", Password: "p"},
		{Scope: "r.io", Password: "p"},
	}
	if !cmp.Equal(want, grants) {
		t.Errorf("got %d grants, or others than wanted", len(grants))
		for i, g := range grants {
			t.Errorf("%d: %s %s %d", i, g.Scope, g.Username, len(g.Password.Reveal()))
		}
	}
	if diff := cmp.Diff([]string{"broken.io", "half.io"}, unreadable); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyRegistryAuthsAreNone(t *testing.T) {
	for _, body := range []string{`{}`, `{"a": null}`, `{"a": {}}`, `{"a": []}`, `{"a": ""}`, `{"a": 0}`, `{"a": false}`} {
		o, err := Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if grants, unreadable, err := o.RegistryAuths("a"); grants != nil || unreadable != nil || err != nil {
			t.Errorf("%s: %v, %v, %v", body, grants, unreadable, err)
		}
	}
}

func TestMalformedRegistryAuthsAreRefusedWithoutTheSecret(t *testing.T) {
	for body, want := range map[string]string{
		`{"a": "SECRET"}`:                                         `a must be an object with the one key "auths"`,
		`{"a": true}`:                                             `a must be an object with the one key "auths"`,
		`{"a": ["SECRET"]}`:                                       `a must be an object with the one key "auths"`,
		`{"a": {"auth": {}}}`:                                     `a must be an object with the one key "auths"`,
		`{"a": {"auths": {}, "x": "SECRET"}}`:                     `a must be an object with the one key "auths"`,
		`{"a": {"auths": {}}}`:                                    `a: "auths" must be an object with at least one registry`,
		`{"a": {"auths": null}}`:                                  `a: "auths" must be an object with at least one registry`,
		`{"a": {"auths": "SECRET"}}`:                              `a: "auths" must be an object with at least one registry`,
		`{"a": {"auths": {"r.io": "SECRET"}}}`:                    `a: "r.io" must be an object with the one key "auth"`,
		`{"a": {"auths": {"r.io": null}}}`:                        `a: "r.io" must be an object with the one key "auth"`,
		`{"a": {"auths": {"r.io": {"x": "S"}}}}`:                  `a: "r.io" must be an object with the one key "auth"`,
		`{"a": {"auths": {"r.io": {"auth": "S", "email": "x"}}}}`: `a: "r.io" must be an object with the one key "auth"`,
		`{"a": {"auths": {"r.io": {"auth": ["SECRET"]}}}}`:        `a: "auth" of "r.io" must be a string`,
		`{"a": {"auths": {"r.io": {"auth": null}}}}`:              `a: "auth" of "r.io" must be a string`,
	} {
		o, err := Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = o.RegistryAuths("a")
		if err == nil || err.Error() != want || sdk.CodeOf(err) != sdk.Invalid || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}
