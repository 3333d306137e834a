package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const testSecret = "not-so-secret-in-a-test"

// receiver is a loopback server that keeps what was posted to it.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	posts  []*http.Request
	bodies []string
	answer http.HandlerFunc
}

func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		r.posts, r.bodies = append(r.posts, request), append(r.bodies, string(body))
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(w, request)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// notifierOf is the plugin, over the wire.
func notifierOf(t *testing.T, settings Settings) sdk.Notifier {
	t.Helper()
	n := newNotifier()
	if settings.Timeout == 0 {
		settings.Timeout = n.Timeout
	}
	if settings.Secret == "" {
		settings.Secret = testSecret
	}
	n.Settings = settings
	return sdktest.Notifier(t, n)
}

func TestAPostHasBodyAndHeaders(t *testing.T) {
	for _, kind := range []sdk.EventKind{sdk.RequestState, sdk.BatchState} {
		t.Run(string(kind), func(t *testing.T) {
			r := newReceiver(t, nil)
			n := notifierOf(t, Settings{URL: r.URL + "/listen?token=t"})
			e := sdktest.Event("complete")
			e.ID, e.Delivery, e.Kind = "4711", 3, kind
			if err := n.Notify(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			post := r.posts[0]
			got := map[string]string{"method": post.Method, "path": post.URL.String(), "body": r.bodies[0]}
			for _, name := range []string{"Content-Type", "Iib-Event", "Iib-Event-Kind", "Iib-Delivery"} {
				got[name] = post.Header.Get(name)
			}
			want := map[string]string{
				"method": "POST", "path": "/listen?token=t", "body": string(e.Body), "Content-Type": "application/json",
				"Iib-Event": "4711", "Iib-Event-Kind": string(kind), "Iib-Delivery": "3",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			seconds, err := strconv.ParseInt(post.Header.Get("Iib-Timestamp"), 10, 64)
			if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > time.Minute {
				t.Errorf("the timestamp is %s old, %v", age, err)
			}
			mac := hmac.New(sha256.New, []byte(testSecret))
			io.WriteString(mac, post.Header.Get("Iib-Timestamp")+".4711."+string(e.Body))
			if got, want := post.Header.Get("Iib-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
				t.Errorf("the signature is %s, want %s", got, want)
			}
		})
	}
}

func TestTheAnswerDecidesWhetherAnEventIsPostedAgain(t *testing.T) {
	for status, want := range map[int]sdk.Code{
		200: "", 201: "", 204: "",
		301: sdk.Invalid, 307: sdk.Invalid,
		400: sdk.Invalid, 401: sdk.Invalid, 403: sdk.Invalid, 404: sdk.Invalid, 410: sdk.Invalid, 422: sdk.Invalid,
		408: sdk.Unavailable, 429: sdk.Unavailable,
		500: sdk.Unavailable, 502: sdk.Unavailable, 503: sdk.Unavailable, 504: sdk.Unavailable,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
				if status >= 300 {
					fmt.Fprint(w, "the reason\n is this")
				}
			})
			err := notifierOf(t, Settings{URL: r.URL}).Notify(t.Context(), sdktest.Event("complete"))
			if got := sdk.CodeOf(err); got != want {
				t.Errorf("got %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), strconv.Itoa(status)) || !strings.Contains(err.Error(), "the reason is this")) {
				t.Errorf("%q does not tell the answer", err)
			}
			if len(r.posts) != 1 {
				t.Errorf("%d posts", len(r.posts))
			}
		})
	}
}

func TestWhatDoesNotAnswerIsUnavailable(t *testing.T) {
	slow := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	reset := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			connection.Close()
		}
	})
	gone := newReceiver(t, nil)
	gone.Close()
	for name, c := range map[string]struct{ url, says string }{
		"a receiver that is slow":          {slow.URL, "did not answer within 50ms"},
		"a receiver that resets":           {reset.URL, "EOF"},
		"a receiver that is not there":     {gone.URL, "refused"},
		"a receiver of a name without one": {"http://receiver.invalid", "receiver.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 5 * time.Second
			if c.url == slow.URL {
				timeout = 50 * time.Millisecond
			}
			err := notifierOf(t, Settings{URL: c.url + "/?token=hidden-in-the-address", Timeout: timeout}).Notify(t.Context(), sdktest.Event("complete"))
			if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("the token is in %q", err)
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for name, header := range map[string]func() string{
		"in seconds":   func() string { return "90" },
		"as a date":    func() string { return time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat) },
		"beyond limit": func() string { return "999999999" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				posts := 0
				n := newNotifier()
				n.URL, n.Secret = "http://receiver.example.com", testSecret
				if err := n.Validate(); err != nil {
					t.Fatal(err)
				}
				n.client.Transport = transportFunc(func(*http.Request) *http.Response {
					posts++
					answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: make(http.Header)}
					if posts == 1 {
						answer.StatusCode = http.StatusServiceUnavailable
						answer.Header.Set("Retry-After", header())
					}
					return answer
				})
				for range 2 {
					if err := n.Notify(t.Context(), sdktest.Event("complete")); sdk.CodeOf(err) != sdk.Unavailable {
						t.Errorf("got %v", err)
					}
				}
				if posts != 1 {
					t.Errorf("%d posts before the time is over", posts)
				}
				wait := 91 * time.Second
				if name == "beyond limit" {
					wait = longestHold
				}
				time.Sleep(wait)
				if err := n.Notify(t.Context(), sdktest.Event("complete")); err != nil || posts != 2 {
					t.Errorf("afterwards: %v, %d posts", err, posts)
				}
			})
		})
	}
}

type transportFunc func(*http.Request) *http.Response

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func TestACertificateOfOnesOwnIsTrusted(t *testing.T) {
	r := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	defer r.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := notifierOf(t, Settings{URL: r.URL, CAFile: file}).Notify(t.Context(), sdktest.Event("complete")); err != nil {
		t.Error(err)
	}
	err := notifierOf(t, Settings{URL: r.URL}).Notify(t.Context(), sdktest.Event("complete"))
	if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without it: %v", err)
	}
}

func TestSettingsThatCannotWorkAreToldByName(t *testing.T) {
	good := Settings{URL: "https://listener.example.com/", Secret: testSecret, Timeout: time.Second}
	for _, c := range []struct {
		name, field string
		spoil       func(*Settings)
	}{
		{"nothing is wrong", "", func(*Settings) {}},
		{"an address without a host", "url", func(s *Settings) { s.URL = "/path" }},
		{"another scheme", "url", func(s *Settings) { s.URL = "amqp://listener.example.com" }},
		{"a short secret", "secret", func(s *Settings) { s.Secret = "hunter2" }},
		{"no time at all", "timeout", func(s *Settings) { s.Timeout = 0 }},
		{"a file that is not there", "ca_file", func(s *Settings) { s.CAFile = "/no/such/file" }},
		{"a file without certificates", "ca_file", func(s *Settings) { s.CAFile = "main.go" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &notifier{Settings: good}
			c.spoil(&n.Settings)
			err := n.Validate()
			if c.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			fault, ok := err.(*sdk.Error)
			if !ok || fault.Field != c.field || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAContextThatEndsIsNotTheReceiversFault(t *testing.T) {
	arrived := make(chan struct{})
	r := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	n := notifierOf(t, Settings{URL: r.URL})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if err := n.Notify(ctx, sdktest.Event("complete")); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}
