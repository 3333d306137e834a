package identity

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/service"
	"github.com/jcmturner/gokrb5/v8/spnego"

	"github.com/iib-engine/iib/sdk"
)

const (
	maxNegotiate = 64 << 10
	clockSkew    = 5 * time.Minute
	maxDepth     = 32
)

// The mechanisms that a token may be of: SPNEGO, and Kerberos within or
// without it.
var (
	oidSPNEGO   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
	oidKerberos = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
)

// Kerberos recognizes tickets by the keys of a keytab (RFC 4559). The user's
// name is the principal with its realm.
type Kerberos struct {
	settings *service.Settings
}

// NewKerberos reads a keytab. An empty principal stands for whichever the
// ticket names.
func NewKerberos(path, principal string) (*Kerberos, error) {
	keys, err := keytab.Load(path)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "keytab %s: %v", path, err)
	}
	if len(keys.Entries) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "keytab %s has no keys", path)
	}
	return newKerberos(keys, principal), nil
}

func newKerberos(keys *keytab.Keytab, principal string) *Kerberos {
	// The directory's data about groups is of no use here, and decoding it is
	// one more risk.
	options := []func(*service.Settings){service.DecodePAC(false), service.MaxClockSkew(clockSkew)}
	if principal != "" {
		options = append(options, service.KeytabPrincipal(principal))
	}
	return &Kerberos{settings: service.NewSettings(keys, options...)}
}

// User implements Method.
func (k *Kerberos) User(r *http.Request) (string, error) {
	text, ok := authorization(r, "Negotiate")
	if !ok {
		return "", nil
	}
	if len(text) > maxNegotiate {
		return "", sdk.Errorf(sdk.Denied, "the Kerberos token has more than %d bytes", maxNegotiate)
	}
	token, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", sdk.Errorf(sdk.Denied, "the Kerberos token is not base64")
	}
	who, err := k.verify(token)
	if err != nil {
		return "", err
	}
	return who.CName().PrincipalNameString() + "@" + who.Domain(), nil
}

// Challenge implements Method.
func (*Kerberos) Challenge() string { return "Negotiate" }

// verify checks a token. The library indexes into what it parses without
// looking at lengths first: tokens that are not well-formed to the last byte
// never reach it, and should it panic all the same, that is a refusal.
func (k *Kerberos) verify(token []byte) (who *credentials.Credentials, err error) {
	defer func() {
		if recover() != nil {
			who, err = nil, sdk.Errorf(sdk.Denied, "the Kerberos token is malformed")
		}
	}()
	inner, err := mechanism(token)
	if err != nil {
		return nil, err
	}
	var ticket spnego.KRB5Token
	if err := ticket.Unmarshal(inner); err != nil || !ticket.IsAPReq() {
		return nil, sdk.Errorf(sdk.Denied, "the Kerberos token has no ticket for this service")
	}
	valid, who, err := service.VerifyAPREQ(&ticket.APReq, k.settings)
	if err != nil || !valid || who == nil {
		return nil, sdk.Errorf(sdk.Denied, "the Kerberos ticket is not valid here: get a new one, for this host, and look at both clocks")
	}
	return who, nil
}

// mechanism returns the Kerberos token within a SPNEGO one, or a plain one as
// it is.
func mechanism(token []byte) ([]byte, error) {
	malformed := sdk.Errorf(sdk.Denied, "the Kerberos token is malformed")
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(token, &outer)
	if err != nil || len(rest) > 0 || outer.Class != asn1.ClassApplication || outer.Tag != 0 {
		return nil, malformed
	}
	var kind asn1.ObjectIdentifier
	body, err := asn1.Unmarshal(outer.Bytes, &kind)
	if err != nil {
		return nil, malformed
	}
	switch {
	case kind.Equal(oidKerberos):
		// Two bytes say what follows: 1 and 0 are a request with a ticket.
		request, ok := bytes.CutPrefix(body, []byte{1, 0})
		if !ok || !wellFormed(request, 0) {
			return nil, malformed
		}
		return token, nil
	case kind.Equal(oidSPNEGO):
		if !wellFormed(body, 0) {
			return nil, malformed
		}
		var negotiation spnego.SPNEGOToken
		if err := negotiation.Unmarshal(token); err != nil || !negotiation.Init {
			return nil, malformed
		}
		inner := negotiation.NegTokenInit.MechTokenBytes
		if len(inner) == 0 {
			return nil, sdk.Errorf(sdk.Denied, "the Kerberos token has no ticket: run kinit")
		}
		if bytes.Equal(inner, token) {
			return nil, malformed
		}
		return plain(inner)
	}
	return nil, sdk.Errorf(sdk.Denied, "the token is neither SPNEGO nor Kerberos")
}

// plain accepts a Kerberos token that is not wrapped once more.
func plain(token []byte) ([]byte, error) {
	var outer asn1.RawValue
	var kind asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(token, &outer); err != nil || len(rest) > 0 || outer.Class != asn1.ClassApplication || outer.Tag != 0 {
		return nil, sdk.Errorf(sdk.Denied, "the Kerberos token is malformed")
	}
	if _, err := asn1.Unmarshal(outer.Bytes, &kind); err != nil || !kind.Equal(oidKerberos) {
		return nil, sdk.Errorf(sdk.Denied, "the token has no Kerberos ticket; this service accepts no other mechanism")
	}
	return mechanism(token)
}

// wellFormed reports whether data is a row of complete ASN.1 values, down to
// those that have no parts.
func wellFormed(data []byte, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for len(data) > 0 {
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(data, &value)
		if err != nil || value.IsCompound && !wellFormed(value.Bytes, depth+1) {
			return false
		}
		data = rest
	}
	return true
}
