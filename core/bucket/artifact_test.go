package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/iib-engine/iib/core/bucket"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

// noise is content of which no part is like another.
func noise(size int) []byte {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	return data
}

func read(t *testing.T, files *bucket.Files, name string) []byte {
	t.Helper()
	r, err := files.Open(t.Context(), 1, name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParts(t *testing.T) {
	files := open(t, coretest.StartS3(t))
	for name, size := range map[string]int{
		"less than a part": bucket.PartSize - 1, "a part": bucket.PartSize, "more than a part": bucket.PartSize + 1, "two parts": 2 * bucket.PartSize,
	} {
		t.Run(name+" comes back as it was", func(t *testing.T) {
			content := noise(size)
			if err := files.Put(t.Context(), 1, "x", iotest.HalfReader(bytes.NewReader(content))); err != nil {
				t.Fatal(err)
			}
			if got := read(t, files, "x"); !bytes.Equal(got, content) {
				t.Errorf("%d bytes, want %d", len(got), size)
			}
		})
	}
}

// endless is a reader that calls a function before each piece.
type endless func() error

func (e endless) Read(p []byte) (int, error) {
	if err := e(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func TestWhatCannotBeStoredLeavesNothing(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	files.Limit(2*bucket.PartSize, 0)
	died := errors.New("the plugin died")
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx     context.Context
		content io.Reader
		code    sdk.Code
		is      error
	}{
		"too much":                {t.Context(), endless(func() error { return nil }), sdk.Invalid, nil},
		"a reader that fails":     {t.Context(), io.MultiReader(bytes.NewReader(noise(bucket.PartSize+1)), iotest.ErrReader(died)), sdk.Unavailable, nil},
		"a context that ends":     {ctx, io.MultiReader(bytes.NewReader(noise(bucket.PartSize+1)), endless(func() error { cancel(); return nil })), sdk.Unavailable, context.Canceled},
		"a context that is ended": {canceled(t), strings.NewReader("x"), sdk.Unavailable, context.Canceled},
	} {
		s.Calls()
		err := files.Put(c.ctx, 1, "x", c.content)
		if sdk.CodeOf(err) != c.code || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
		calls := s.Calls()
		if calls[http.MethodPost] != calls[http.MethodDelete] {
			t.Errorf("%s: %d uploads were begun, and %d dropped", name, calls[http.MethodPost], calls[http.MethodDelete])
		}
		if keys := s.Keys(t); len(keys) > 0 {
			t.Errorf("%s left %v", name, keys)
		}
	}
	if err := files.Put(t.Context(), 1, "x", bytes.NewReader(noise(2*bucket.PartSize))); err != nil {
		t.Errorf("as much as there may be: %v", err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// once has each kind of call to each object go wrong the first time.
func once(fault coretest.S3Fault) func(*http.Request) coretest.S3Fault {
	var mu sync.Mutex
	seen := make(map[string]bool)
	return func(r *http.Request) coretest.S3Fault {
		mu.Lock()
		defer mu.Unlock()
		call := r.Method + r.URL.String() + r.Header.Get("If-Match")
		if seen[call] {
			return coretest.S3Fine
		}
		seen[call] = true
		return fault
	}
}

func TestFaultsThatPassAreNotSeen(t *testing.T) {
	small, large := noise(1000), noise(bucket.PartSize+1000)
	for _, fault := range []coretest.S3Fault{coretest.S3Error, coretest.S3SlowDown, coretest.S3Reset, coretest.S3Truncation, coretest.S3Slow} {
		t.Run(string(fault), func(t *testing.T) {
			s := coretest.StartS3(t)
			files := open(t, s)
			// What ends an upload is not told apart from an upload that is unknown.
			ends := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") }
			broken := once(fault)
			s.Break(func(r *http.Request) coretest.S3Fault {
				if ends(r) || r.Method == http.MethodPost && fault == coretest.S3Truncation {
					return coretest.S3Fine
				}
				return broken(r)
			})
			for name, content := range map[string][]byte{"small": small, "large": large} {
				if err := files.Put(t.Context(), 1, name, bytes.NewReader(content)); err != nil {
					t.Fatal(err)
				}
				if got := read(t, files, name); !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes, want %d", name, len(got), len(content))
				}
			}
		})
	}
}

func TestAnArtifactIsNeverCutShort(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	if err := files.Put(t.Context(), 1, "x", bytes.NewReader(noise(100_000))); err != nil {
		t.Fatal(err)
	}
	r, err := files.Open(t.Context(), 1, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	// The next connection is refused the old version, and does not read the new.
	if err := files.Put(t.Context(), 1, "x", strings.NewReader("another")); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err == nil && len(rest) != 99_990 {
		t.Errorf("%d bytes and no error", len(rest))
	}

	s.Break(func(r *http.Request) coretest.S3Fault {
		if r.Method == http.MethodGet {
			return coretest.S3Truncation
		}
		return coretest.S3Fine
	})
	if err := files.Put(t.Context(), 1, "y", bytes.NewReader(noise(100_000))); err != nil {
		t.Fatal(err)
	}
	cut, err := files.Open(t.Context(), 1, "y")
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	// Each connection brings half of the rest: it ends, one way or the other.
	got, err := io.ReadAll(cut)
	if err == nil && !bytes.Equal(got, noise(100_000)) || err != nil && sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
