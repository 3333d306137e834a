package clienttls_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
	"github.com/iib-engine/iib/sdk/clienttls/tlstest"
)

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  clienttls.Files
		fields string
	}{
		{"nothing", clienttls.Files{}, ""},
		{"everything", clienttls.Files{CA: "/ca", Cert: "/cert", Key: "/key"}, ""},
		{"relative paths", clienttls.Files{CA: "ca", Cert: "./cert", Key: "key"}, "ca_file cert_file key_file"},
		{"a certificate without a key", clienttls.Files{Cert: "/cert"}, "cert_file"},
		{"a key without a certificate", clienttls.Files{Key: "/key"}, "key_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fields []string
			if err := c.files.Faults(); err != nil {
				for _, fault := range err.(interface{ Unwrap() []error }).Unwrap() {
					coded, ok := errors.AsType[*sdk.Error](fault)
					if !ok {
						t.Fatalf("got %T", fault)
					}
					fields = append(fields, coded.Field)
				}
			}
			if got := strings.Join(fields, " "); got != c.fields {
				t.Errorf("blamed %q, want %q", got, c.fields)
			}
		})
	}
}

// secured is a server that tells each client its name.
func secured(t *testing.T, a *tlstest.Authority) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = a.Server()
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, config *tls.Config, url string) (string, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestARenewedCertificateIsShownWithoutARestart(t *testing.T) {
	a := tlstest.New(t)
	url := secured(t, a)
	files := clienttls.Files{CA: a.CA}
	files.Cert, files.Key = a.Issue("first")
	config, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, config, url); got != "first" {
		t.Fatalf("the server saw %q, %v", got, err)
	}
	cert, key := a.Issue("second")
	for from, to := range map[string]string{cert: files.Cert, key: files.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := get(t, config, url); got != "second" {
		t.Errorf("after the renewal the server saw %q, %v", got, err)
	}
}

func TestStrangersAreNotTrusted(t *testing.T) {
	a, other := tlstest.New(t), tlstest.New(t)
	url := secured(t, a)
	cert, key := a.Issue("client")
	otherCert, otherKey := other.Issue("client")
	for name, files := range map[string]clienttls.Files{
		"no certificate":                         {CA: a.CA},
		"another authority's":                    {CA: a.CA, Cert: otherCert, Key: otherKey},
		"a server of another authority":          {CA: other.CA, Cert: cert, Key: key},
		"a server that the system does not know": {Cert: cert, Key: key},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := files.Config()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := get(t, config, url); err == nil {
				t.Errorf("got in as %q", got)
			}
		})
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	a := tlstest.New(t)
	cert, key := a.Issue("client")
	_, otherKey := a.Issue("other")
	none := filepath.Join(t.TempDir(), "none.pem")
	for name, c := range map[string]struct {
		files clienttls.Files
		code  sdk.Code
		says  string
	}{
		"no authority file":              {clienttls.Files{CA: none}, sdk.Unavailable, none},
		"an authority that is none":      {clienttls.Files{CA: key}, sdk.Invalid, "no PEM certificate"},
		"no certificate file":            {clienttls.Files{Cert: none, Key: key}, sdk.Unavailable, none},
		"a key of another certificate":   {clienttls.Files{Cert: cert, Key: otherKey}, sdk.Unavailable, "key"},
		"a certificate where the key is": {clienttls.Files{Cert: cert, Key: cert}, sdk.Unavailable, cert},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.files.Config()
			if sdk.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%s)", err, sdk.CodeOf(err))
			}
		})
	}
}
