package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/iib-engine/iib/sdk"
)

const (
	maxBearer = 16 << 10
	// providerTimeout bounds a call to the provider; providerPause is how long
	// one that did not answer is left alone, so that callers are not kept
	// waiting each.
	providerTimeout = 5 * time.Second
	providerPause   = 5 * time.Second
)

// OIDCOptions say which provider is trusted.
type OIDCOptions struct {
	Issuer   string
	Audience string
	// UserClaim is the claim that has the user's name.
	UserClaim string
	// Client reaches the provider.
	Client *http.Client
}

// OIDC recognizes bearer tokens that an OpenID Connect provider has signed.
// The provider is asked for its keys when the first token comes, and again
// when it signs with a new one.
type OIDC struct {
	options OIDCOptions

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	fault    error
	asked    time.Time
}

// NewOIDC asks nothing of the provider yet.
func NewOIDC(o OIDCOptions) *OIDC {
	client := *o.Client
	client.Timeout = providerTimeout
	o.Client = &client
	return &OIDC{options: o}
}

// User implements Method.
func (o *OIDC) User(r *http.Request) (string, error) {
	token, ok := authorization(r, "Bearer")
	if !ok || !o.issued(token) {
		return "", nil
	}
	verifier, err := o.provider(r.Context())
	if err != nil {
		return "", err
	}
	verified, err := verifier.Verify(r.Context(), token)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return "", sdk.Errorf(sdk.Denied, "the token ended at %s: get a new one", expired.Expiry.UTC().Format(time.RFC3339))
	case err != nil:
		return "", sdk.Errorf(sdk.Denied, "the token is not valid here: %v", err)
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return "", sdk.Errorf(sdk.Denied, "the token's claims: %v", err)
	}
	user, _ := claims[o.options.UserClaim].(string)
	if user == "" {
		return "", sdk.Errorf(sdk.Denied, "the token has no claim %q with the user's name", o.options.UserClaim)
	}
	return user, nil
}

// Challenge implements Method.
func (*OIDC) Challenge() string { return "Bearer" }

// issued reports whether a token says that it is from this provider. Others are
// some other method's business.
func (o *OIDC) issued(token string) bool {
	parts := strings.Split(token, ".")
	if len(token) > maxBearer || len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(payload, &claims) == nil && claims.Issuer == o.options.Issuer
}

// provider returns what verifies tokens, after it has asked for the provider's
// description once.
func (o *OIDC) provider(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier != nil {
		return o.verifier, nil
	}
	if time.Since(o.asked) < providerPause {
		return nil, o.fault
	}
	// The context of the first caller must not end what all others use.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), o.options.Client)
	provider, err := oidc.NewProvider(ctx, o.options.Issuer)
	o.asked = time.Now()
	if err != nil {
		o.fault = sdk.Errorf(sdk.Unavailable, "the identity provider %s does not answer as it should: %v", o.options.Issuer, err)
		return nil, o.fault
	}
	o.verifier = provider.VerifierContext(ctx, &oidc.Config{ClientID: o.options.Audience})
	return o.verifier, nil
}
