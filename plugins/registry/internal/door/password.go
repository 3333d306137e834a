package door

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// equal compares two secrets in a time that tells nothing about them.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

const (
	// remember is how long a password that was right is not hashed again: a
	// client sends it with every request, and a hash takes a twentieth of a
	// second by design.
	remember = 5 * time.Minute
	// attempts is how many passwords are hashed at once, so that guessing does
	// not take the machine away from others.
	attempts = 2
	// maxPassword is as much as bcrypt looks at.
	maxPassword = 72
	maxLine     = 4 << 10
)

// decoy is the hash of a password that nobody has.
var decoy = sync.OnceValue(func() []byte {
	hash, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), bcrypt.DefaultCost)
	if err != nil {
		panic(err) // only a longer password or another cost can fail
	}
	return hash
})

// passwords are the users of an htpasswd file.
type passwords struct {
	path string
	now  func() time.Time
	busy chan struct{}
	salt [32]byte

	mu     sync.Mutex
	stamp  time.Time
	size   int64
	hashes map[string][]byte
	known  map[[32]byte]time.Time
}

func newPasswords(path string, now func() time.Time) *passwords {
	p := &passwords{path: path, now: now, busy: make(chan struct{}, attempts)}
	rand.Read(p.salt[:])
	return p
}

// load reads the file if it has changed.
func (p *passwords) load() error {
	info, err := os.Stat(p.path)
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hashes != nil && info.ModTime().Equal(p.stamp) && info.Size() == p.size {
		return nil
	}
	file, err := os.Open(p.path)
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	defer file.Close()
	hashes := make(map[string][]byte)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, found := strings.Cut(line, ":")
		if _, err := bcrypt.Cost([]byte(hash)); !found || user == "" || err != nil {
			return fmt.Errorf("users file %s, line %d: want a name, a colon and a bcrypt hash, as `htpasswd -B` makes them", p.path, n)
		}
		hashes[user] = []byte(hash)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("users file %s: %w", p.path, err)
	}
	p.stamp, p.size, p.hashes, p.known = info.ModTime(), info.Size(), hashes, make(map[[32]byte]time.Time)
	return nil
}

// check tells whether a password is a user's.
func (p *passwords) check(user, password string) bool {
	if err := p.load(); err != nil {
		// Who was let in before still is.
		slog.Error("read the users", "err", err)
	}
	if user == "" || len(password) > maxPassword {
		return false
	}
	key := sha256.Sum256([]byte(string(p.salt[:]) + user + "\x00" + password))
	p.mu.Lock()
	hash := p.hashes[user]
	until, known := p.known[key]
	p.mu.Unlock()
	if hash == nil {
		hash = decoy() // so that nobody learns by the clock which users there are
	}
	if known && p.now().Before(until) {
		return true
	}
	p.busy <- struct{}{}
	err := bcrypt.CompareHashAndPassword(hash, []byte(password))
	<-p.busy
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// The file may have changed while it was hashed.
	if string(p.hashes[user]) == string(hash) {
		p.known[key] = p.now().Add(remember)
	}
	return true
}
