package coretest

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3 is a server of the S3 protocol in this process, with one bucket in memory.
// It refuses whoever does not name its access key; signatures are not checked.
type S3 struct {
	Endpoint, Bucket     string
	AccessKey, SecretKey string

	backend *s3mem.Backend
	service http.Handler

	mu    sync.Mutex
	fault func(*http.Request) S3Fault
	calls map[string]int
}

// S3Fault is a way in which a call to a bucket goes wrong.
type S3Fault string

// The faults. A call that is done is done in all of them but the first three.
const (
	S3Fine       S3Fault = ""
	S3Refused    S3Fault = "403"
	S3Error      S3Fault = "500"
	S3SlowDown   S3Fault = "503"
	S3Reset      S3Fault = "reset"      // done, and nobody is told
	S3Truncation S3Fault = "truncation" // half of the answer
	S3Slow       S3Fault = "slow"       // the answer comes little by little
	// S3Hang answers nothing before the caller leaves, and then does the call.
	S3Hang S3Fault = "hang"
)

// StartS3 starts a server that ends with the test.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	s := &S3{Bucket: "iib-files", AccessKey: "AKIACANARYACCESS71", SecretKey: "canary/secret+key/a8e2f1", backend: s3mem.New(), calls: make(map[string]int)}
	s.service = gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0)).Server()
	if err := s.backend.CreateBucket(s.Bucket); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	// Connections are dropped on purpose.
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.Endpoint = server.URL
	return s
}

// Break has the calls that fault names go wrong, until it is called again; nil
// is none.
func (s *S3) Break(fault func(*http.Request) S3Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Calls returns how many calls there were since the last time, by method.
func (s *S3) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = make(map[string]int)
	return calls
}

// Keys returns the names of all objects, in order.
func (s *S3) Keys(t testing.TB) []string {
	t.Helper()
	list, err := s.backend.ListBucket(s.Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, object := range list.Contents {
		keys = append(keys, object.Key)
	}
	return slices.Sorted(slices.Values(keys))
}

// Store puts an object into the bucket, as somebody else would.
func (s *S3) Store(t testing.TB, key, content string) {
	t.Helper()
	if _, err := s.backend.PutObject(s.Bucket, key, map[string]string{}, strings.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
}

// ServeHTTP implements http.Handler.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls[r.Method]++
	choose := s.fault
	s.mu.Unlock()
	fault := S3Fine
	if choose != nil {
		fault = choose(r)
	}
	if fault == S3Refused || !strings.Contains(r.Header.Get("Authorization"), "Credential="+s.AccessKey+"/") {
		// Some services repeat the key that they do not know.
		answerS3(w, http.StatusForbidden, "InvalidAccessKeyId", "There is no access key "+s.AccessKey+".")
		return
	}
	switch fault {
	case S3Error:
		answerS3(w, http.StatusInternalServerError, "InternalError", "We encountered an internal error.")
		return
	case S3SlowDown:
		answerS3(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if fault == S3Hang {
		<-r.Context().Done()
	}
	answer := httptest.NewRecorder()
	s.service.ServeHTTP(answer, r)
	content := answer.Body.Bytes()
	switch fault {
	case S3Reset, S3Hang:
		panic(http.ErrAbortHandler)
	case S3Truncation:
		if r.Method == http.MethodHead || len(content) < 2 {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	if r.Method != http.MethodHead && w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	}
	w.WriteHeader(answer.Code)
	if fault != S3Slow {
		_, _ = w.Write(content)
		return
	}
	for piece := range slices.Chunk(content, max(1, len(content)/10)) {
		_, _ = w.Write(piece)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

func answerS3(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}
