package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/iib-engine/iib/core/config"
)

// secured puts TLS around a listener where the configuration has a certificate,
// and returns the address that clients on this machine use.
func secured(c *config.Config, listener net.Listener) (address string, _ net.Listener, err error) {
	address = listener.Addr().String()
	if c.Server.TLS == nil {
		return "http://" + address, listener, nil
	}
	pair := &keyPair{files: *c.Server.TLS}
	if _, err := pair.current(nil); err != nil {
		return "", listener, fmt.Errorf("read the certificate: %w", err)
	}
	return "https://" + ownRegistry(c, address), tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: pair.current, NextProtos: []string{"http/1.1"},
	}), nil
}

// keyPair is a certificate and its key, read again when the files were replaced.
type keyPair struct {
	files config.TLS

	mu     sync.Mutex
	stamp  [2]time.Time
	loaded *tls.Certificate
}

// current returns the pair that is in the files. While these do not fit
// together, as in the middle of being replaced, the last one stays.
func (k *keyPair) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var stamp [2]time.Time
	for i, path := range []string{k.files.CertFile, k.files.KeyFile} {
		if info, err := os.Stat(path); err == nil {
			stamp[i] = info.ModTime()
		}
	}
	if k.loaded != nil && stamp == k.stamp {
		return k.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(k.files.CertFile, k.files.KeyFile)
	if err != nil {
		if k.loaded != nil {
			return k.loaded, nil
		}
		return nil, err
	}
	k.loaded, k.stamp = &pair, stamp
	return k.loaded, nil
}
