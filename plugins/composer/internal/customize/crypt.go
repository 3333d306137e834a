package customize

import (
	"crypto/rand"
	"crypto/sha512"
	"strings"
)

// alphabet is what crypt writes bits in, not that of base64.
const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// hashed reports whether a password is one already (contract section 4.1).
func hashed(password string) bool {
	for _, prefix := range []string{"$6$", "$5$", "$2b$"} {
		if strings.HasPrefix(password, prefix) {
			return true
		}
	}
	return false
}

// crypt hashes a password with SHA-512 and a salt of its own.
func crypt(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	for i, b := range salt {
		salt[i] = alphabet[b&63]
	}
	return sha512crypt([]byte(password), salt, 5000)
}

// sha512crypt is the algorithm of "Unix crypt using SHA-256 and SHA-512" by
// Ulrich Drepper, https://www.akkadia.org/drepper/SHA-crypt.txt; the numbers are
// the steps there.
func sha512crypt(key, salt []byte, rounds int) string {
	// 4-8
	h := sha512.New()
	h.Write(key)
	h.Write(salt)
	h.Write(key)
	b := h.Sum(nil)
	// 1-3, 9-12
	h = sha512.New()
	h.Write(key)
	h.Write(salt)
	h.Write(stretch(b, len(key)))
	for n := len(key); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(key)
		}
	}
	a := h.Sum(nil)
	// 13-16
	h = sha512.New()
	for range key {
		h.Write(key)
	}
	p := stretch(h.Sum(nil), len(key))
	// 17-20
	h = sha512.New()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := stretch(h.Sum(nil), len(salt))
	// 21
	for i := range rounds {
		h = sha512.New()
		if i&1 != 0 {
			h.Write(p)
		} else {
			h.Write(a)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 != 0 {
			h.Write(a)
		} else {
			h.Write(p)
		}
		a = h.Sum(nil)
	}
	// 22
	out := []byte("$6$" + string(salt) + "$")
	emit := func(v uint, n int) {
		for range n {
			out = append(out, alphabet[v&63])
			v >>= 6
		}
	}
	x, y, z := 0, 21, 42
	for range 21 {
		emit(uint(a[x])<<16|uint(a[y])<<8|uint(a[z]), 4)
		x, y, z = y+1, z+1, x+1
	}
	emit(uint(a[63]), 2)
	return string(out)
}

// stretch repeats a digest until it has n bytes.
func stretch(digest []byte, n int) []byte {
	var out []byte
	for len(out) < n {
		out = append(out, digest...)
	}
	return out[:n]
}
