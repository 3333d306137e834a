package door_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/door"
	"github.com/iib-engine/iib/sdk"
)

// house is a door to a handler that tells whom it sees.
type house struct {
	t     *testing.T
	door  *door.Door
	users string
	now   time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, users: filepath.Join(t.TempDir(), "htpasswd"), now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.write("anna", "correct horse")
	policy := access.Policy{
		{Repository: "open", Readers: []string{access.Anyone}, Writers: []string{"anna"}},
		{Repository: "**", Admins: []string{"team+ci"}},
	}
	inside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		right := func(name string) access.Right { right, _ := policy.For(r, name); return right }
		fmt.Fprintf(w, "%s open:%s other:%s %s", sdk.UserFrom(r), right("open"), right("other"), r.Header.Get("Authorization"))
	})
	var err error
	h.door, err = door.New(inside, door.Options{
		UsersFile: h.users, Robots: map[string]string{"team+ci": "battery staple"}, Key: []byte("key"),
		Life: time.Minute, Policy: policy, Now: func() time.Time { return h.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) write(user, password string) {
	h.t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.users, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// knock sends a request and returns the status and what is said inside.
func (h *house) knock(change func(*http.Request)) (int, string) {
	r := httptest.NewRequest("GET", "http://registry.example.com/v2/", nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func authorization(text string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", text) }
}

// token asks for a token.
func (h *house) token(credentials func(*http.Request), scopes ...string) (int, string) {
	h.t.Helper()
	r := httptest.NewRequest("GET", door.TokenPath+"?"+url.Values{"service": {"registry"}, "scope": scopes}.Encode(), nil)
	if credentials != nil {
		credentials(r)
	}
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	var answer struct {
		Token     string
		ExpiresIn int `json:"expires_in"`
	}
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.ExpiresIn != 60 {
			h.t.Fatal(err, w.Body)
		}
	}
	return w.Code, answer.Token
}

func TestPasswords(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		what        string
		credentials func(*http.Request)
		status      int
		seen        string
	}{
		{"nobody is nobody", nil, 200, "open:read other:none"},
		{"a user is who she is", basic("anna", "correct horse"), 200, "anna open:write other:none"},
		{"a user is who she is, again", basic("anna", "correct horse"), 200, "anna open:write other:none"},
		{"a robot is who it is", basic("team+ci", "battery staple"), 200, "team+ci open:read other:admin"},
		{"a robot is who it is by its secret alone", authorization("Bearer team+ci:battery staple"), 200, "team+ci open:read other:admin"},
		{"a wrong password is nobody's", basic("anna", "wrong"), 401, ""},
		{"an empty password is nobody's", basic("anna", ""), 401, ""},
		{"a very long password is nobody's", basic("anna", strings.Repeat("x", 1<<16)), 401, ""},
		{"a stranger is not let in", basic("otto", "correct horse"), 401, ""},
		{"a robot's name is not enough", basic("team+ci", ""), 401, ""},
		{"half a header is not enough", authorization("Basic"), 401, ""},
		{"another scheme is not known", authorization("Negotiate abc"), 401, ""},
	} {
		status, seen := h.knock(c.credentials)
		if status != c.status || status == 200 && seen != c.seen {
			t.Errorf("%s: %d %s", c.what, status, seen)
		}
	}
	t.Run("keep the engine's word about who calls, if the caller says nothing", func(t *testing.T) {
		_, seen := h.knock(func(r *http.Request) { r.Header.Set(sdk.UserHeader, "anna") })
		if !strings.HasPrefix(seen, "anna ") {
			t.Error(seen)
		}
	})
	t.Run("change with the file", func(t *testing.T) {
		h.write("anna", "a longer password than before")
		if status, _ := h.knock(basic("anna", "correct horse")); status != 401 {
			t.Errorf("the old password: %d", status)
		}
		if status, _ := h.knock(basic("anna", "a longer password than before")); status != 200 {
			t.Errorf("the new password: %d", status)
		}
		if err := os.Remove(h.users); err != nil {
			t.Fatal(err)
		}
		if status, _ := h.knock(basic("anna", "a longer password than before")); status != 200 {
			t.Errorf("while the file is missing: %d", status)
		}
	})
	t.Run("in a file that is none are refused at the start", func(t *testing.T) {
		for _, text := range []string{"anna", "anna:plain", ":$2y$04$x", "anna:{SHA}x", strings.Repeat("x", 1<<16)} {
			path := filepath.Join(t.TempDir(), "htpasswd")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := door.New(http.NotFoundHandler(), door.Options{UsersFile: path}); err == nil {
				t.Errorf("%.20q was taken", text)
			}
		}
		if _, err := door.New(http.NotFoundHandler(), door.Options{UsersFile: filepath.Join(t.TempDir(), "missing")}); err == nil {
			t.Error("a missing file was taken")
		}
	})
}

func TestTokens(t *testing.T) {
	t.Run("are good for what was asked, as far as the user may", func(t *testing.T) {
		h := newHouse(t)
		for _, c := range []struct {
			credentials func(*http.Request)
			scopes      []string
			seen        string
		}{
			{nil, nil, "open:none other:none"},
			{nil, []string{"repository:open:pull,push"}, "open:read other:none"},
			{basic("anna", "correct horse"), []string{"repository:open:pull"}, "anna open:read other:none"},
			{basic("anna", "correct horse"), []string{"repository:open:pull,push repository:other:pull"}, "anna open:write other:none"},
			{basic("team+ci", "battery staple"), []string{"repository:other:pull", "repository:other:push"}, "team+ci open:none other:write"},
			{basic("team+ci", "battery staple"), []string{"repository:other:*"}, "team+ci open:none other:admin"},
			{basic("team+ci", "battery staple"), []string{"registry:catalog:*", "repository", "repository:other", "repository:..:*", ""}, "team+ci open:none other:none"},
		} {
			status, token := h.token(c.credentials, c.scopes...)
			if status != http.StatusOK {
				t.Fatalf("%v: %d", c.scopes, status)
			}
			if _, seen := h.knock(authorization("Bearer " + token)); seen != c.seen {
				t.Errorf("%v: %s, want %s", c.scopes, seen, c.seen)
			}
		}
	})
	t.Run("are not given for wrong passwords", func(t *testing.T) {
		h := newHouse(t)
		for _, credentials := range []func(*http.Request){basic("anna", "wrong"), basic("", ""), authorization("Bearer x")} {
			if status, _ := h.token(credentials); status != http.StatusUnauthorized {
				t.Errorf("status %d", status)
			}
		}
	})
	t.Run("end", func(t *testing.T) {
		h := newHouse(t)
		_, token := h.token(basic("anna", "correct horse"), "repository:open:push")
		h.now = h.now.Add(59 * time.Second)
		if status, _ := h.knock(authorization("Bearer " + token)); status != 200 {
			t.Errorf("before its end: %d", status)
		}
		h.now = h.now.Add(time.Second)
		if status, _ := h.knock(authorization("Bearer " + token)); status != 401 {
			t.Errorf("at its end: %d", status)
		}
	})
	t.Run("cannot be forged", func(t *testing.T) {
		h := newHouse(t)
		_, token := h.token(basic("anna", "correct horse"), "repository:open:push")
		payload, signature, _ := strings.Cut(token, ".")
		for _, forged := range []string{
			"", ".", payload, payload + ".", payload + "." + signature[1:], "A" + token, token + "A", payload[1:] + "." + signature,
			"eyJzdWIiOiJyb290In0." + signature, strings.Repeat("A", 1<<20) + "." + signature,
		} {
			if status, seen := h.knock(authorization("Bearer " + forged)); status != 401 {
				t.Errorf("%.40q: %d %s", forged, status, seen)
			}
		}
	})
	t.Run("are given for a form too", func(t *testing.T) {
		h := newHouse(t)
		form := url.Values{"grant_type": {"password"}, "username": {"anna"}, "password": {"correct horse"}, "scope": {"repository:open:push"}}
		for password, want := range map[string]int{"correct horse": 200, "wrong": 401} {
			form.Set("password", password)
			r := httptest.NewRequest("POST", door.TokenPath, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			h.door.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s: %d", password, w.Code)
			}
		}
		r := httptest.NewRequest("DELETE", door.TokenPath, nil)
		w := httptest.NewRecorder()
		h.door.ServeHTTP(w, r)
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("DELETE: %d", w.Code)
		}
	})
}

func TestChallenge(t *testing.T) {
	h := newHouse(t)
	r := httptest.NewRequest("GET", "http://10.0.0.1/v2/", nil)
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-Host", `registry.example.com",x="`)
	want := `Bearer realm="https://registry.example.com,x=/v2/token",service="registry",scope="repository:a:pull"`
	if diff := cmp.Diff(want, h.door.Challenge(r, "repository:a:pull")); diff != "" {
		t.Error(diff)
	}
}
