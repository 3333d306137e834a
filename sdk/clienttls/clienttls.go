// Package clienttls is the TLS that a plugin needs to reach a service: the
// settings that name the files, and the configuration made from them.
package clienttls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
)

// Files are settings that a plugin's configuration embeds. The zero value
// trusts the system's authorities and shows no certificate.
type Files struct {
	CA   string `hcl:"ca_file,optional" doc:"PEM certificates of the authorities to trust, instead of the system's."`
	Cert string `hcl:"cert_file,optional" doc:"The certificate to show, with its chain, in PEM form. It is read again for each connection."`
	Key  string `hcl:"key_file,optional" doc:"The certificate's private key, in PEM form."`
}

// Faults returns what is wrong with the settings as such; for Validate. It does
// not look at the files.
func (f Files) Faults() error {
	var faults []error
	for _, s := range []struct{ field, path string }{{"ca_file", f.CA}, {"cert_file", f.Cert}, {"key_file", f.Key}} {
		// A plugin's working directory is not the one that iib.hcl lies in.
		if s.path != "" && !filepath.IsAbs(s.path) {
			faults = append(faults, sdk.FieldErrorf(s.field, "%s: %q must be an absolute path", s.field, s.path))
		}
	}
	switch {
	case f.Cert != "" && f.Key == "":
		faults = append(faults, sdk.FieldErrorf("cert_file", "cert_file needs the key_file that belongs to it"))
	case f.Cert == "" && f.Key != "":
		faults = append(faults, sdk.FieldErrorf("key_file", "key_file needs the cert_file that belongs to it"))
	}
	return errors.Join(faults...)
}

// Config reads the files. The certificate that the configuration shows is read
// again in each handshake, so that a renewed one is used without a restart.
func (f Files) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, sdk.Errorf(sdk.Unavailable, "ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, sdk.FieldErrorf("ca_file", "ca_file: %s holds no PEM certificate", f.CA)
		}
	}
	if f.Cert != "" {
		if _, err := f.pair(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.pair() }
	}
	return config, nil
}

func (f Files) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "cert_file %s with key_file %s: %w", f.Cert, f.Key, err)
	}
	return &pair, nil
}
