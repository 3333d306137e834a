package door

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/access"
	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// tokens issues and verifies tokens. A token is what it claims, and a signature
// of that; nobody has to remember it.
type tokens struct {
	key []byte
	now func() time.Time
}

// claims are what a token says.
type claims struct {
	User    string       `json:"sub"`
	Expires int64        `json:"exp"`
	Scope   access.Scope `json:"scope"`
}

// maxToken is more than any token of ours has.
const maxToken = 16 << 10

func (t *tokens) sign(payload string) []byte {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(payload))
	return mac.Sum(nil)
}

func (t *tokens) issue(user string, scope access.Scope, life time.Duration) (string, error) {
	encoded, err := json.Marshal(claims{User: user, Expires: t.now().Add(life).Unix(), Scope: scope})
	if err != nil {
		return "", err
	}
	payload := base64.RawURLEncoding.EncodeToString(encoded)
	return payload + "." + base64.RawURLEncoding.EncodeToString(t.sign(payload)), nil
}

func (t *tokens) verify(token string) (user string, scope access.Scope, ok bool) {
	payload, signature, found := strings.Cut(token, ".")
	if !found || len(token) > maxToken {
		return "", nil, false
	}
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(given, t.sign(payload)) {
		return "", nil, false
	}
	encoded, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", nil, false
	}
	var c claims
	if json.Unmarshal(encoded, &c) != nil || t.now().Unix() >= c.Expires {
		return "", nil, false
	}
	if c.Scope == nil {
		c.Scope = access.Scope{}
	}
	return c.User, c.Scope, true
}

// maxScopes bounds the repositories of one token.
const maxScopes = 50

// serveToken answers a client that was challenged: with a token for as much of
// what it asks for as it may have. Also who has no name gets one.
func (d *Door) serveToken(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the query is malformed", http.StatusBadRequest)
		return
	}
	user, password, given := r.BasicAuth()
	if r.Method == http.MethodPost && r.PostForm.Get("grant_type") == "password" {
		user, password, given = r.PostForm.Get("username"), r.PostForm.Get("password"), true
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "want GET or POST", http.StatusMethodNotAllowed)
		return
	case given && !d.check(user, password), !given && r.Header.Get("Authorization") != "":
		w.Header().Set("WWW-Authenticate", `Basic realm="`+service+`"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"invalid credentials"}]}`, http.StatusUnauthorized)
		return
	}
	scope := access.Scope{}
	for _, text := range r.Form["scope"] {
		for _, one := range strings.Fields(text) {
			if len(scope) < maxScopes {
				d.grant(scope, user, one)
			}
		}
	}
	token, err := d.tokens.issue(user, scope, d.life)
	if err != nil {
		http.Error(w, "no token can be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": int(d.life.Seconds()),
		"issued_at": d.tokens.now().UTC().Format(time.RFC3339),
	})
}

// grant adds to a scope as much of a wish, "repository:<name>:<actions>", as
// the user may have. Everybody may see the list of repositories, which has only
// what the user may read.
func (d *Door) grant(scope access.Scope, user, wish string) {
	if wish == access.Catalog {
		scope[access.Catalog] = access.Read
		return
	}
	kind, rest, _ := strings.Cut(wish, ":")
	end := strings.LastIndexByte(rest, ':')
	if kind != "repository" || end < 0 {
		return
	}
	name, wanted := rest[:end], access.None
	if store.CheckRepository(name) != nil {
		return
	}
	for _, action := range strings.Split(rest[end+1:], ",") {
		switch action {
		case "pull":
			wanted = max(wanted, access.Read)
		case "push", "delete":
			wanted = max(wanted, access.Write)
		case "*", "admin":
			wanted = access.Admin
		}
	}
	if right := min(wanted, d.policy.Of(user, name)); right > access.None {
		scope[name] = max(scope[name], right)
	}
}
