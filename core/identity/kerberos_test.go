package identity

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/iib-engine/iib/sdk"
)

const realm = "EXAMPLE.COM"

// authority issues tickets as a realm's key distribution center does.
type authority struct {
	t    testing.TB
	keys *keytab.Keytab
}

func newAuthority(t testing.TB, services ...string) *authority {
	t.Helper()
	a := &authority{t: t, keys: keytab.New()}
	for _, webService := range services {
		if err := a.keys.AddEntry(webService, realm, "the password of "+webService, time.Now(), 1, etypeID.AES256_CTS_HMAC_SHA1_96); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// ticket is one for jane to use a service until end.
func (a *authority) ticket(webService string, end time.Time) (*client.Client, messages.Ticket, types.EncryptionKey) {
	a.t.Helper()
	jane := client.NewWithPassword("jane", realm, "secret", config.New())
	begin := time.Now().Add(-time.Hour)
	ticket, key, err := messages.NewTicket(jane.Credentials.CName(), realm,
		types.NewPrincipalName(nametype.KRB_NT_SRV_HST, webService), realm, types.NewKrbFlags(),
		a.keys, etypeID.AES256_CTS_HMAC_SHA1_96, 1, begin, begin, end, end)
	if err != nil {
		a.t.Fatal(err)
	}
	return jane, ticket, key
}

func (a *authority) negotiation(webService string, end time.Time) []byte {
	a.t.Helper()
	jane, ticket, key := a.ticket(webService, end)
	init, err := spnego.NewNegTokenInitKRB5(jane, ticket, key)
	if err != nil {
		a.t.Fatal(err)
	}
	token := spnego.SPNEGOToken{Init: true, NegTokenInit: init}
	data, err := token.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func (a *authority) plain(webService string, end time.Time) []byte {
	a.t.Helper()
	jane, ticket, key := a.ticket(webService, end)
	token, err := spnego.NewKRB5TokenAPREQ(jane, ticket, key, []int{gssapi.ContextFlagInteg}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	data, err := token.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func negotiate(token []byte) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Negotiate "+base64.StdEncoding.EncodeToString(token))
	return r
}

const webService = "HTTP/iib.example.com"

func TestKerberosRecognizesATicket(t *testing.T) {
	a := newAuthority(t, webService)
	k := newKerberos(a.keys, "")
	hour := time.Now().Add(time.Hour)
	for name, token := range map[string][]byte{"within SPNEGO": a.negotiation(webService, hour), "alone": a.plain(webService, hour)} {
		if user, err := k.User(negotiate(token)); err != nil || user != "jane@"+realm {
			t.Errorf("%s: %q, %v", name, user, err)
		}
	}
}

func TestKerberosRefuses(t *testing.T) {
	a, stranger := newAuthority(t, webService, "HTTP/other.example.com"), newAuthority(t, webService)
	if err := stranger.keys.AddEntry(webService, realm, "another password", time.Now(), 1, etypeID.AES256_CTS_HMAC_SHA1_96); err != nil {
		t.Fatal(err)
	}
	k := newKerberos(a.keys, webService)
	hour := time.Now().Add(time.Hour)
	used := a.negotiation(webService, hour)
	if _, err := k.User(negotiate(used)); err != nil {
		t.Fatal(err)
	}
	fresh := a.negotiation(webService, hour)
	forged := newAuthority(t)
	if err := forged.keys.AddEntry(webService, realm, "another password", time.Now(), 1, etypeID.AES256_CTS_HMAC_SHA1_96); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token []byte
		says  string
	}{
		"a token that was used":         {used, "not valid"},
		"an old ticket":                 {a.negotiation(webService, time.Now().Add(-30*time.Minute)), "not valid"},
		"a ticket of another authority": {forged.negotiation(webService, hour), "not valid"},
		"nothing":                       {nil, "malformed"},
		"half a token":                  {fresh[:len(fresh)/2], "malformed"},
		"more than a token":             {append(append([]byte(nil), fresh...), 0), "malformed"},
		"a token of NTLM":               {[]byte("NTLMSSP\x00\x01\x00\x00\x00"), "malformed"},
		// 18 bytes with which the library indexes past the end.
		"a short token": {[]byte{0x60, 0x10, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02, 0xa0, 0x06, 0x30, 0x04, 0xa2, 0x02, 0x04, 0x00}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			user, err := k.User(negotiate(c.token))
			if user != "" || sdk.CodeOf(err) != sdk.Denied || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
	t.Run("no base64", func(t *testing.T) {
		r := negotiate(nil)
		r.Header.Set("Authorization", "Negotiate ***")
		if _, err := k.User(r); sdk.CodeOf(err) != sdk.Denied {
			t.Error(err)
		}
	})
	t.Run("another scheme is another method's business", func(t *testing.T) {
		r := negotiate(nil)
		r.Header.Set("Authorization", "Bearer x")
		if user, err := k.User(r); user != "" || err != nil {
			t.Errorf("%q, %v", user, err)
		}
	})
}

func TestKeytabFile(t *testing.T) {
	a := newAuthority(t, webService)
	data, err := a.keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "http.keytab")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := NewKerberos(path, webService)
	if err != nil {
		t.Fatal(err)
	}
	if user, err := k.User(negotiate(a.negotiation(webService, time.Now().Add(time.Hour)))); user != "jane@"+realm {
		t.Errorf("%q, %v", user, err)
	}
	if _, err := NewKerberos(path+".not", ""); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}

// FuzzNegotiate looks for a token that does more than be refused.
func FuzzNegotiate(f *testing.F) {
	a := newAuthority(f, webService)
	k := newKerberos(a.keys, "")
	hour := time.Now().Add(time.Hour)
	f.Add(a.negotiation(webService, hour))
	f.Add(a.plain(webService, hour))
	f.Add([]byte{0x60, 0x10, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02, 0xa0, 0x06, 0x30, 0x04, 0xa2, 0x02, 0x04, 0x00})
	f.Fuzz(func(t *testing.T, token []byte) {
		user, err := k.User(negotiate(token))
		if user != "" && user != "jane@"+realm {
			t.Errorf("%q", user)
		}
		if err != nil && sdk.CodeOf(err) != sdk.Denied {
			t.Error(err)
		}
	})
}
