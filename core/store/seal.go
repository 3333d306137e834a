package store

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/iib-engine/iib/sdk"
)

// Key is a key that secrets are sealed with.
type Key struct {
	// ID is stored with what the key seals: 1 to 255 bytes, no two keys the
	// same.
	ID string
	// Bytes are the key, 32 random bytes.
	Bytes []byte
}

// keyring seals with its first key and opens with all of them.
type keyring struct {
	first string
	aeads map[string]cipher.AEAD
}

func newKeyring(keys []Key) (keyring, error) {
	ring := keyring{aeads: make(map[string]cipher.AEAD)}
	for i, key := range keys {
		if key.ID == "" || len(key.ID) > 255 {
			return keyring{}, sdk.Errorf(sdk.Invalid, "key %d: its ID must have 1 to 255 bytes", i+1)
		}
		if ring.aeads[key.ID] != nil {
			return keyring{}, sdk.Errorf(sdk.Invalid, "key %q: two keys have this ID", key.ID)
		}
		aead, err := chacha20poly1305.NewX(key.Bytes)
		if err != nil {
			return keyring{}, sdk.Errorf(sdk.Invalid, "key %q: it must have 32 bytes, not %d", key.ID, len(key.Bytes))
		}
		ring.aeads[key.ID] = aead
		if i == 0 {
			ring.first = key.ID
		}
	}
	return ring, nil
}

// credentials are what is sealed for a request. sdk.Secret refuses to be
// encoded, on purpose, so that this is the one place where it is. They are
// bytes, because JSON text cannot hold every string.
type credentials struct {
	Secrets map[string][]byte `json:"secrets,omitempty"`
	Grants  []credential      `json:"grants,omitempty"`
}

type credential struct {
	Scope    string `json:"scope"`
	Username string `json:"username"`
	Password []byte `json:"password"`
}

// sealFormat is the first byte of a sealed value. Then come the length of the
// key's ID, the ID, the nonce, and the sealed JSON.
const sealFormat = 1

// seal returns what only open, given the same request, turns back.
func (r keyring) seal(request int64, secrets map[string]sdk.Secret, grants []sdk.Grant) ([]byte, error) {
	aead := r.aeads[r.first]
	if aead == nil {
		return nil, sdk.Errorf(sdk.Internal, "seal the secrets of a request: no key is configured")
	}
	var c credentials
	for name, secret := range secrets {
		if c.Secrets == nil {
			c.Secrets = make(map[string][]byte, len(secrets))
		}
		c.Secrets[name] = []byte(secret.Reveal())
	}
	for _, g := range grants {
		c.Grants = append(c.Grants, credential{Scope: g.Scope, Username: g.Username, Password: []byte(g.Password.Reveal())})
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "seal the secrets of request %d: %v", request, err)
	}
	sealed := append([]byte{sealFormat, byte(len(r.first))}, r.first...)
	header := len(sealed)
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce) // never fails
	sealed = append(sealed, nonce...)
	return aead.Seal(sealed, nonce, plain, sealContext(sealed[:header], request)), nil
}

// open returns what was sealed for a request.
func (r keyring) open(request int64, sealed []byte) (map[string]sdk.Secret, []sdk.Grant, error) {
	fault := func(why string, args ...any) error {
		return sdk.Errorf(sdk.Internal, "open the secrets of request %d: "+why, append([]any{request}, args...)...)
	}
	if len(sealed) < 2 || sealed[0] != sealFormat || len(sealed) < 2+int(sealed[1]) {
		return nil, nil, fault("the stored value has no known format")
	}
	header := sealed[:2+int(sealed[1])]
	id := string(header[2:])
	aead := r.aeads[id]
	if aead == nil {
		return nil, nil, fault("they are sealed with key %q, which is not configured", id)
	}
	rest := sealed[len(header):]
	if len(rest) < aead.NonceSize() {
		return nil, nil, fault("the stored value is cut off")
	}
	nonce, rest := rest[:aead.NonceSize()], rest[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, rest, sealContext(header, request))
	if err != nil {
		return nil, nil, fault("the stored value was changed, belongs to another request, or key %q is not the one it was sealed with", id)
	}
	var c credentials
	if err := json.Unmarshal(plain, &c); err != nil {
		return nil, nil, fault("decode: %v", err)
	}
	secrets := make(map[string]sdk.Secret, len(c.Secrets))
	for name, secret := range c.Secrets {
		secrets[name] = sdk.Secret(secret)
	}
	var grants []sdk.Grant
	for _, g := range c.Grants {
		grants = append(grants, sdk.Grant{Scope: g.Scope, Username: g.Username, Password: sdk.Secret(g.Password)})
	}
	return secrets, grants, nil
}

// sealContext ties a sealed value to its key and its request, so that one
// cannot be put in the place of another.
func sealContext(header []byte, request int64) []byte {
	data := append([]byte("iib request secrets\x00"), header...)
	return binary.BigEndian.AppendUint64(data, uint64(request))
}
