package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Key is the address of some content: usually, but not necessarily, the
// SHA-256 of the content itself.
type Key [sha256.Size]byte

// Sum returns the SHA-256 of data.
func Sum(data []byte) Key { return sha256.Sum256(data) }

const algorithm = "sha256:"

// Parse reads the form that String writes.
func Parse(s string) (Key, error) {
	var k Key
	digits, ok := strings.CutPrefix(s, algorithm)
	if !ok || len(digits) != hex.EncodedLen(len(k)) || strings.ToLower(digits) != digits {
		return Key{}, fmt.Errorf("digest %q: want sha256: and 64 lower-case hex digits", s)
	}
	if _, err := hex.Decode(k[:], []byte(digits)); err != nil {
		return Key{}, fmt.Errorf("digest %q: want sha256: and 64 lower-case hex digits", s)
	}
	return k, nil
}

// String returns the key as a digest, "sha256:" and 64 hex digits.
func (k Key) String() string { return algorithm + hex.EncodeToString(k[:]) }

// IsZero reports whether the key was never set.
func (k Key) IsZero() bool { return k == Key{} }
