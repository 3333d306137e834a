package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/iib-engine/iib/sdk"
)

func bearer(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestProxyHeader(t *testing.T) {
	h := ProxyHeader{Name: "X-Remote-User", From: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}}
	for _, c := range []struct {
		name, from string
		values     []string
		user       string
		refused    bool
	}{
		{"the proxy names the user", "10.1.2.3:4711", []string{"jane@EXAMPLE.COM"}, "jane@EXAMPLE.COM", false},
		{"the proxy names nobody", "10.1.2.3:4711", nil, "", false},
		{"a client names itself", "10.1.3.3:4711", []string{"root"}, "", false},
		{"a client that is no address", "pipe", []string{"root"}, "", false},
		{"the proxy let a client's header through", "10.1.2.3:4711", []string{"root", "jane"}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Header["X-Remote-User"] = c.from, c.values
			user, err := h.User(r)
			if user != c.user || (sdk.CodeOf(err) == sdk.Denied) != c.refused {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	token, line, err := NewToken("jane@EXAMPLE.COM")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(line, token) {
		t.Fatalf("the line has the token: %s", line)
	}
	_, second, _ := NewToken("a bot")
	path := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write("# who may come in\n\n" + line + "\n" + second + "\n")
		var fault atomic.Value
		tokens, err := OpenTokens(path, func(err error) { fault.Store(err) })
		if err != nil {
			t.Fatal(err)
		}
		if user, err := tokens.User(bearer(token)); user != "jane@EXAMPLE.COM" {
			t.Errorf("%q, %v", user, err)
		}
		for _, wrong := range []string{"", token + "0", hashOf(token), "x"} {
			if user, err := tokens.User(bearer(wrong)); user != "" || sdk.CodeOf(err) != sdk.Denied || wrong != "" && strings.Contains(err.Error(), wrong+" ") {
				t.Errorf("%q: %q, %v", wrong, user, err)
			}
		}
		time.Sleep(2 * lookEvery)
		write("jane " + token + "\n")
		if user, err := tokens.User(bearer(token)); user != "jane@EXAMPLE.COM" {
			t.Errorf("a file with a mistake is in force: %q, %v", user, err)
		}
		if err, _ := fault.Load().(error); err == nil || strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("the mistake is told as %v", err)
		}
		time.Sleep(2 * lookEvery)
		write(second + "\n")
		if user, err := tokens.User(bearer(token)); sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("a token that was taken back is in force: %q, %v", user, err)
		}
	})
}

func TestNewTokenRefusesNamesThatALineCannotHave(t *testing.T) {
	for _, name := range []string{"", "#x", " x", "a\nb sha256:00"} {
		if _, _, err := NewToken(name); sdk.CodeOf(err) != sdk.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// provider is an OpenID Connect provider.
type provider struct {
	t    *testing.T
	url  string
	key  *ecdsa.PrivateKey
	down atomic.Bool
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if p.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.url, "jwks_uri": p.url + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func sign(t *testing.T, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestOIDC(t *testing.T) {
	p, stranger := newProvider(t), newProvider(t)
	o := NewOIDC(OIDCOptions{Issuer: p.url, Audience: "iib", UserClaim: "preferred_username", Client: http.DefaultClient})
	claims := func(changed ...any) map[string]any {
		c := map[string]any{"iss": p.url, "aud": "iib", "exp": time.Now().Add(time.Hour).Unix(), "preferred_username": "jane"}
		for i := 0; i < len(changed); i += 2 {
			c[changed[i].(string)] = changed[i+1]
		}
		return c
	}
	good := sign(t, p.key, claims())
	if user, err := o.User(bearer(good)); user != "jane" {
		t.Fatalf("%q, %v", user, err)
	}
	header, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	for name, c := range map[string]struct{ token, says string }{
		"an old token":                  {sign(t, p.key, claims("exp", time.Now().Add(-time.Minute).Unix())), "ended at"},
		"a token for another service":   {sign(t, p.key, claims("aud", "other")), "aud"},
		"a token signed by a stranger":  {sign(t, stranger.key, claims()), "not valid"},
		"a token without a signature":   {header + "." + payload + ".", "not valid"},
		"a token without a user":        {sign(t, p.key, claims("preferred_username", "")), "preferred_username"},
		"a token whose user is no text": {sign(t, p.key, claims("preferred_username", 5)), "preferred_username"},
	} {
		t.Run(name, func(t *testing.T) {
			if user, err := o.User(bearer(c.token)); user != "" || sdk.CodeOf(err) != sdk.Denied || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
	for name, token := range map[string]string{
		"a token of another provider": sign(t, stranger.key, claims("iss", stranger.url)), "no JSON web token": "abc", "dots": "..",
	} {
		t.Run(name+" is another method's business", func(t *testing.T) {
			if user, err := o.User(bearer(token)); user != "" || err != nil {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
}

func TestProviderThatIsDownRefusesNobody(t *testing.T) {
	p := newProvider(t)
	p.down.Store(true)
	o := NewOIDC(OIDCOptions{Issuer: p.url, Audience: "iib", UserClaim: "sub", Client: http.DefaultClient})
	token := sign(t, p.key, map[string]any{"iss": p.url, "aud": "iib", "sub": "jane", "exp": time.Now().Add(time.Hour).Unix()})
	for range 2 {
		if user, err := o.User(bearer(token)); user != "" || sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("%q, %v", user, err)
		}
	}
	p.down.Store(false)
	o.asked = time.Now().Add(-2 * providerPause)
	if user, err := o.User(bearer(token)); user != "jane" {
		t.Errorf("%q, %v", user, err)
	}
}

func TestMethodsWorkSideBySide(t *testing.T) {
	token, line, err := NewToken("bot")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := OpenTokens(path, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	p := newProvider(t)
	m := &Methods{List: []Method{tokens, NewOIDC(OIDCOptions{Issuer: p.url, Audience: "iib", UserClaim: "sub", Client: http.DefaultClient}), newKerberos(newAuthority(t, webService).keys, "")}}
	signed := sign(t, p.key, map[string]any{"iss": p.url, "aud": "iib", "sub": "jane", "exp": time.Now().Add(time.Hour).Unix()})
	for given, want := range map[string]string{token: "bot", signed: "jane"} {
		if user, err := m.User(bearer(given)); user != want || err != nil {
			t.Errorf("%q, %v, want %s", user, err, want)
		}
	}
	if user, err := m.User(bearer("wrong")); user != "" || sdk.CodeOf(err) != sdk.Denied {
		t.Errorf("%q, %v", user, err)
	}
	if user, err := m.User(httptest.NewRequest(http.MethodGet, "/", nil)); user != "" || err != nil {
		t.Errorf("nobody: %q, %v", user, err)
	}
	twice := bearer(token)
	twice.Header.Add("Authorization", "Bearer "+signed)
	if user, _ := m.User(twice); user != "" {
		t.Errorf("two headers make %q", user)
	}
	p.down.Store(true)
	m.List[1] = NewOIDC(OIDCOptions{Issuer: p.url, Audience: "iib", UserClaim: "sub", Client: http.DefaultClient})
	if user, err := m.User(bearer(signed)); user != "" || sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("a provider that is down: %q, %v", user, err)
	}
	if got := m.Challenges(); len(got) != 2 || got[0] != "Bearer" || got[1] != "Negotiate" {
		t.Errorf("challenges are %q", got)
	}
}

// FuzzAuthorization looks for a header that more than one method falls for, or
// that does more than be refused.
func FuzzAuthorization(f *testing.F) {
	token, line, err := NewToken("jane")
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		f.Fatal(err)
	}
	tokens, err := OpenTokens(path, func(error) {})
	if err != nil {
		f.Fatal(err)
	}
	a := newAuthority(f, webService)
	methods := &Methods{List: []Method{
		ProxyHeader{Name: "X-Remote-User", From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, newKerberos(a.keys, ""), tokens,
		NewOIDC(OIDCOptions{Issuer: "http://127.0.0.1:1", Audience: "iib", UserClaim: "sub", Client: http.DefaultClient}),
	}}
	ticket := a.negotiation(webService, time.Now().Add(time.Hour))
	for _, header := range []string{
		"", "Bearer", "Bearer ", "bearer " + token, "Bearer  " + token + " ", "Bearer " + token + "x", "Basic amFuZTp4", "Negotiate", "Negotiate ====",
		"Negotiate " + base64.StdEncoding.EncodeToString(ticket), "Negotiate YA==", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJqYW5lIn0.",
		"Digest username=\"jane\"", "Bearer " + strings.Repeat("a", 10000), "\x00", "Bearer \xff",
	} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header["Authorization"] = []string{header}
		user, err := methods.User(r)
		if user != "" && err != nil {
			t.Errorf("%q and %v", user, err)
		}
		if user == "jane" && !strings.Contains(header, token) || user != "" && user != "jane" && user != "jane@"+realm {
			t.Errorf("%q is taken for %q", header, user)
		}
		if code := sdk.CodeOf(err); err != nil && code != sdk.Denied && code != sdk.Unavailable {
			t.Errorf("%q: %v", header, err)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("the error has the token: %v", err)
		}
	})
}
