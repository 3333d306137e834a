package identity

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// The bounds of a tokens file, and how often it is looked at for changes.
const (
	maxTokensFile = 4 << 20
	lookEvery     = time.Second
)

// TokenPrefix begins every token that NewToken makes, so that people and
// scanners for leaked secrets recognize one.
const TokenPrefix = "iib_"

// NewToken makes a token of 256 random bits and the line of a tokens file that
// lets the user in with it. The token itself is stored nowhere.
func NewToken(user string) (token, line string, err error) {
	if user == "" || strings.HasPrefix(user, "#") || strings.ContainsAny(user, "\r\n\x00") || strings.TrimSpace(user) != user {
		return "", "", sdk.Errorf(sdk.Invalid, "%q cannot be a user's name", user)
	}
	random := make([]byte, 32)
	rand.Read(random)
	token = TokenPrefix + hex.EncodeToString(random)
	return token, user + " " + hashOf(token), nil
}

// hashOf is how a tokens file shows a token. Tokens are long and random, which
// is why a plain hash keeps them secret.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Tokens recognizes bearer tokens by a file of their hashes. The file is read
// again when it changes; one that cannot be read, or has a mistake, leaves what
// was read before in force.
type Tokens struct {
	path string
	// Fault is told why a changed file is not in force.
	fault func(error)

	mu     sync.Mutex
	users  map[string]string
	stamp  string
	looked time.Time
}

// OpenTokens reads a tokens file: on each line a user's name, blanks, and
// "sha256:" with 64 hexadecimal digits; empty lines and those that begin with
// "#" are skipped. A user may have several tokens.
func OpenTokens(path string, fault func(error)) (*Tokens, error) {
	t := &Tokens{path: path, fault: fault}
	var err error
	if t.users, t.stamp, err = readTokens(path); err != nil {
		return nil, err
	}
	t.looked = time.Now()
	return t, nil
}

// User implements Method.
func (t *Tokens) User(r *http.Request) (string, error) {
	token, ok := authorization(r, "Bearer")
	if !ok {
		return "", nil
	}
	if user, ok := t.current()[hashOf(token)]; ok {
		return user, nil
	}
	return "", sdk.Errorf(sdk.Denied, "the token is not known here, or was taken back")
}

// Challenge implements Method.
func (*Tokens) Challenge() string { return "Bearer" }

// current returns the users by hash, as the file says by now.
func (t *Tokens) current() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.looked) < lookEvery {
		return t.users
	}
	t.looked = time.Now()
	info, err := os.Stat(t.path)
	if err == nil && stampOf(info) == t.stamp {
		return t.users
	}
	users, stamp, err := readTokens(t.path)
	if err != nil {
		t.fault(err)
		return t.users
	}
	t.users, t.stamp = users, stamp
	return users
}

func stampOf(info os.FileInfo) string {
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

func readTokens(path string) (users map[string]string, stamp string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", sdk.Errorf(sdk.Invalid, "tokens file: %v", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", sdk.Errorf(sdk.Invalid, "tokens file: %v", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxTokensFile+1))
	if err != nil {
		return nil, "", sdk.Errorf(sdk.Invalid, "tokens file %s: %v", path, err)
	}
	if len(data) > maxTokensFile {
		return nil, "", sdk.Errorf(sdk.Invalid, "tokens file %s has more than %d bytes", path, maxTokensFile)
	}
	users = make(map[string]string)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := cutLast(line)
		// The line itself is not shown: somebody may have put a token there.
		if !ok || !isHash(hash) {
			return nil, "", sdk.Errorf(sdk.Invalid, "tokens file %s, line %d: it is not a user's name and sha256:<64 hexadecimal digits>; make one with iib token", path, n)
		}
		users[hash] = user
	}
	if err := lines.Err(); err != nil {
		return nil, "", sdk.Errorf(sdk.Invalid, "tokens file %s: %v", path, err)
	}
	return users, stampOf(info), nil
}

// cutLast cuts a line at its last blanks.
func cutLast(line string) (before, after string, ok bool) {
	i := strings.LastIndexAny(line, " \t")
	if i < 0 {
		return "", "", false
	}
	return strings.TrimSpace(line[:i]), line[i+1:], true
}

func isHash(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	sum, err := hex.DecodeString(digits)
	return ok && err == nil && len(sum) == sha256.Size && strings.ToLower(digits) == digits
}
