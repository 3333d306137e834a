package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// badRegistry stands before a registry and spoils a share of what it answers.
type badRegistry struct {
	server   *httptest.Server
	registry string // where the real one is
	share    float64

	mu     sync.Mutex
	random *rand.Rand
	calls  int
	did    map[string]int
}

func newBadRegistry(t testing.TB, registry string, share float64, seed uint64) *badRegistry {
	t.Helper()
	b := &badRegistry{registry: registry, share: share, random: rand.New(rand.NewPCG(seed, 3)), did: make(map[string]int)}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	return b
}

func (b *badRegistry) host() string { return strings.TrimPrefix(b.server.URL, "http://") }

// faults are the ways in which a registry fails; each gets the right answer.
var registryFaults = map[string]func(w http.ResponseWriter, a *registryAnswer){
	"429": func(w http.ResponseWriter, _ *registryAnswer) { http.Error(w, "slow down", http.StatusTooManyRequests) },
	"500": func(w http.ResponseWriter, _ *registryAnswer) { http.Error(w, "oops", http.StatusInternalServerError) },
	// What was asked for is done, and nobody is told so.
	"reset": func(w http.ResponseWriter, a *registryAnswer) { hangUp(w, a, 0) },
	"truncation": func(w http.ResponseWriter, a *registryAnswer) {
		hangUp(w, a, len(a.body)/2)
	},
	"wrong digest": func(w http.ResponseWriter, a *registryAnswer) {
		if len(a.body) > 0 {
			a.body[len(a.body)/2] ^= 1
		}
		if a.method == http.MethodPut && a.header.Get("Docker-Content-Digest") != "" {
			a.header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
		}
		a.write(w)
	},
	// Bytes come, but hardly any.
	"slow": func(w http.ResponseWriter, a *registryAnswer) {
		maps.Copy(w.Header(), a.header)
		w.WriteHeader(a.status)
		step := max(1, len(a.body)/20)
		for part := range slices.Chunk(a.body, step) {
			_, _ = w.Write(part)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	},
}

type registryAnswer struct {
	method string
	status int
	header http.Header
	body   []byte
}

func (a *registryAnswer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// hangUp sends the beginning of an answer and drops the connection.
func hangUp(w http.ResponseWriter, a *registryAnswer, bytes int) {
	conn, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if bytes == 0 {
		return
	}
	fmt.Fprintf(stream, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	a.header.Set("Content-Length", strconv.Itoa(len(a.body)))
	_ = a.header.Write(stream)
	_, _ = stream.WriteString("\r\n")
	_, _ = stream.Write(a.body[:bytes])
	_ = stream.Flush()
}

func (b *badRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := b.ask(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	name := b.choose(r)
	if name == "" {
		answer.write(w)
		return
	}
	registryFaults[name](w, answer)
}

// ask gets the real answer.
func (b *badRegistry) ask(r *http.Request) (*registryAnswer, error) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+b.registry+r.URL.RequestURI(), r.Body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = r.ContentLength
	request.Header = r.Header.Clone()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	header := response.Header.Clone()
	if location := header.Get("Location"); location != "" {
		header.Set("Location", strings.Replace(location, b.registry, b.host(), 1))
	}
	return &registryAnswer{r.Method, response.StatusCode, header, bytes.Clone(body)}, nil
}

// choose returns the fault of a call, or "".
func (b *badRegistry) choose(r *http.Request) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.random.Float64() >= b.share {
		return ""
	}
	names := slices.Sorted(maps.Keys(registryFaults))
	name := names[b.random.IntN(len(names))]
	if r.Method == http.MethodHead && (name == "slow" || name == "truncation" || name == "wrong digest") {
		name = "reset" // there is nothing else to spoil
	}
	b.did[name]++
	return name
}

func (b *badRegistry) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d calls, of which went wrong: %v", b.calls, b.did)
}
