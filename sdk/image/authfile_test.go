package image

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func authFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func login(user, password string) string {
	return fmt.Sprintf(`{"auth":%q}`, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func TestCredentials(t *testing.T) {
	path := authFile(t, fmt.Sprintf(`{"auths":{
		"quay.io": %s, "quay.io/team": %s, "quay.io/team/index": %s,
		"localhost:5000": %s,
		"https://index.docker.io/v1/": %s,
		"token.example.com": {"auth": "MDAwMDo=", "identitytoken": "abc"}
	}}`, login("registry", "1"), login("namespace", "2"), login("repository", "3:with:colons"), login("local", "4"), login("docker", "5")))
	for spec, want := range map[string]struct{ user, password string }{
		"quay.io/other/a:v1":               {"registry", "1"},
		"quay.io/team/a:v1":                {"namespace", "2"},
		"quay.io/team/index:v1":            {"repository", "3:with:colons"},
		"quay.io/team/index@" + someDigest: {"repository", "3:with:colons"},
		"quay.io/team/index-2:v1":          {"namespace", "2"},
		"quay.io/teams/index:v1":           {"registry", "1"},
		"localhost:5000/a:v1":              {"local", "4"},
		"busybox":                          {"docker", "5"},
		"token.example.com/a/b:v1":         {"<token>", "abc"},
		"registry.example.com/a/b:v1":      {"", ""},
	} {
		user, password, err := Credentials(path, spec)
		if err != nil || user != want.user || password.Reveal() != want.password {
			t.Errorf("%s: %q %q, %v", spec, user, password.Reveal(), err)
		}
	}
}

func TestCredentialsFromFilesThatAreNone(t *testing.T) {
	_, _, err := Credentials(filepath.Join(t.TempDir(), "none.json"), "quay.io/a/b:v1")
	wantCode(t, err, sdk.Invalid, "none.json", "no such file")
	_, _, err = Credentials(authFile(t, "{"), "quay.io/a/b:v1")
	wantCode(t, err, sdk.Invalid, "config.json", "quay.io/a/b")
	_, _, err = Credentials(authFile(t, `{"auths":{"quay.io":{"auth":"not base64!"}}}`), "quay.io/a/b:v1")
	wantCode(t, err, sdk.Invalid, "config.json")
	_, _, err = Credentials(authFile(t, "{}"), "not a spec")
	wantCode(t, err, sdk.Invalid, "pull spec")
}
