package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// always answers with a status and a body.
func always(status int, contentType, body string) func(http.ResponseWriter, *http.Request, string) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

// reset ends the connection so that the client gets a reset, after it has sent
// some bytes.
func reset(after string) func(http.ResponseWriter, *http.Request, string) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = conn.Write([]byte(after))
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
		return true
	}
}

func TestWhatIsNoDecisionNeitherPassesNorDenies(t *testing.T) {
	const json, text = "application/json", "text/plain"
	for _, c := range []struct {
		name    string
		trouble func(http.ResponseWriter, *http.Request, string) bool
		code    sdk.Code
		retried bool
		says    []string
	}{
		{"400 with a message", always(400, json, `{"message": "Missing required product version"}`), sdk.Invalid, false,
			[]string{"400 Bad Request: Missing required product version."}},
		{"404 with a message", always(404, json, `{"message": "Found no applicable policies"}`), sdk.Invalid, false,
			[]string{"404 Not Found: Found no applicable policies."}},
		{"404 without a message", always(404, text, ""), sdk.Invalid, false, []string{"Greenwave answered 404 Not Found."}},
		{"401", always(401, json, `{"message": "who are you"}`), sdk.Internal, false, []string{"who are you", "administrator"}},
		{"403 of a proxy", always(403, "text/html", "<html>no</html>"), sdk.Internal, false, []string{"403 Forbidden. The engine's administrator"}},
		{"429", always(429, json, `{"message": "slow down"}`), sdk.Unavailable, true, []string{"slow down"}},
		{"500 with a message", always(500, json, `{"message": "Internal Server Error"}`), sdk.Unavailable, true, []string{"500 Internal Server Error: Internal Server Error."}},
		{"502 that is text", always(502, text, "bad\r\n\r\ngateway"), sdk.Unavailable, true, []string{"502 Bad Gateway: bad gateway."}},
		{"503 that is a page", always(503, "text/html; charset=utf-8", "<html>down</html>"), sdk.Unavailable, true, []string{"503 Service Unavailable."}},
		{"504 with nothing", always(504, json, ""), sdk.Unavailable, true, []string{"504 Gateway Timeout."}},
		{"500 with megabytes", always(500, text, strings.Repeat("x", maxAnswer+10)), sdk.Unavailable, true, []string{strings.Repeat("x", 500) + " ..."}},
		{"a redirection", always(302, text, ""), sdk.Internal, false, []string{"302 Found where a decision was expected", "url"}},
		{"204", always(204, json, ""), sdk.Internal, false, []string{"204 No Content"}},
		{"200 that is a page", always(200, "text/html", "<html>maintenance</html>"), sdk.Unavailable, true, []string{"not the JSON of a decision", "maintenance"}},
		{"200 with nothing", always(200, json, ""), sdk.Unavailable, true, []string{"not the JSON of a decision"}},
		{"200 with half a document", always(200, json, `{"policies_satisfied": true`), sdk.Unavailable, true, []string{"not the JSON of a decision"}},
		{"200 with an array", always(200, json, `[true]`), sdk.Unavailable, true, []string{"not the JSON of a decision"}},
		{"200 without policies_satisfied", always(200, json, `{"summary": "All required tests passed"}`), sdk.Unavailable, true, []string{"lacks policies_satisfied"}},
		{"200 with policies_satisfied of null", always(200, json, `{"policies_satisfied": null}`), sdk.Unavailable, true, []string{"lacks policies_satisfied"}},
		{"200 with policies_satisfied as a text", always(200, json, `{"policies_satisfied": "true"}`), sdk.Unavailable, true, []string{"not the JSON of a decision"}},
		{"200 with megabytes", always(200, json, `{"policies_satisfied": true, "summary": "`+strings.Repeat("x", maxAnswer)+`"}`), sdk.Unavailable, true, []string{"larger than 4194304 bytes"}},
		{"a reset before the answer", reset(""), sdk.Unavailable, true, []string{"Greenwave is not reached"}},
		{"a reset within the answer", reset("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"policies_satisfied\": true"), sdk.Unavailable, true, []string{"breaks off"}},
		{"no answer", func(_ http.ResponseWriter, r *http.Request, _ string) bool {
			<-r.Context().Done()
			return true
		}, sdk.Unavailable, true, []string{"no answer within 200ms"}},
		{"an answer that does not end", func(w http.ResponseWriter, r *http.Request, _ string) bool {
			_, _ = w.Write([]byte(`{"policies_satisfied": true`))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, sdk.Unavailable, true, []string{"no answer within 200ms"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			s.trouble = c.trouble
			g := asking(s)
			g.Attempts = 2
			if strings.Contains(c.says[0], "200ms") {
				g.Timeout = 200 * time.Millisecond
			}
			verdict, err := sdktest.Gate(t, g).Check(t.Context(), adding("etcd"))
			if verdict.Allowed {
				t.Error("it passed")
			}
			wantError(t, err, c.code, append(c.says, "There is no decision about the bundle (decision context", nvr("etcd"), "quay.io/ns/etcd@sha256:")...)
			if n, want := len(s.questions()), map[bool]int{false: 1, true: 2}[c.retried]; n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	s := newService(t)
	g := asking(s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.URL = "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = sdktest.Gate(t, g).Check(t.Context(), adding("etcd"))
	wantError(t, err, sdk.Unavailable, "connection refused")
}

func TestTransientTroubleIsOvercome(t *testing.T) {
	s := newService(t)
	s.results[nvr("vault")] = []result{{"dist.abi", "FAILED"}}
	var mu sync.Mutex
	times := make(map[string]int)
	kinds := []func(http.ResponseWriter, *http.Request, string) bool{
		always(503, "text/plain", "down"), reset(""), always(200, "text/plain", "not JSON"), always(200, "application/json", "{}"),
	}
	s.trouble = func(w http.ResponseWriter, r *http.Request, subject string) bool {
		mu.Lock()
		n := times[subject]
		times[subject]++
		mu.Unlock()
		return n < len(kinds) && kinds[n](w, r, subject)
	}
	g := asking(s)
	g.Attempts = len(kinds) + 1
	served := sdktest.Gate(t, g)
	got, err := served.Check(t.Context(), adding("etcd", "consul"))
	if err != nil || !got.Allowed {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = served.Check(t.Context(), adding("vault"))
	if err != nil || got.Allowed || !strings.Contains(got.Reason, "dist.abi failed") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRetryAfterIsRespectedWithinReason(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"2": 2 * time.Second, "86400": maxPause, "99999999999999999999": 0, "-1": 0, "": 0, "soon": 0,
	} {
		if got := retryAfter(&http.Response{Header: http.Header{"Retry-After": {value}}}); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

func TestARefusedBundleDeniesWhateverBecomesOfOthers(t *testing.T) {
	s := newService(t)
	s.results[nvr("etcd")] = []result{{"dist.abi", "FAILED"}}
	s.trouble = func(w http.ResponseWriter, r *http.Request, subject string) bool {
		return subject == nvr("vault") && always(500, "text/plain", "down")(w, r, subject)
	}
	got, err := sdktest.Gate(t, asking(s)).Check(t.Context(), adding("etcd", "vault"))
	if err != nil || got.Allowed {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, want := range []string{"1 of 2 bundles", "dist.abi failed", "About 1 of 2 bundles there is no decision."} {
		if !strings.Contains(got.Reason, want) {
			t.Errorf("%q does not say %q", got.Reason, want)
		}
	}
}

func TestFaultsThatStayAreNotTakenForAnOutage(t *testing.T) {
	for _, c := range []struct {
		statuses []int
		code     sdk.Code
	}{
		{[]int{500, 404}, sdk.Invalid}, {[]int{404, 500}, sdk.Invalid}, {[]int{401, 404}, sdk.Internal}, {[]int{404, 401}, sdk.Internal}, {[]int{500, 200}, sdk.Unavailable},
	} {
		t.Run(fmt.Sprint(c.statuses), func(t *testing.T) {
			s := newService(t)
			s.trouble = func(w http.ResponseWriter, r *http.Request, subject string) bool {
				status := c.statuses[strings.Index("ab", subject[:1])]
				return status != 200 && always(status, "text/plain", "")(w, r, subject)
			}
			_, err := sdktest.Gate(t, asking(s)).Check(t.Context(), adding("a", "b"))
			wantError(t, err, c.code)
		})
	}
}

func TestACheckEndsWithItsContext(t *testing.T) {
	s := newService(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.trouble = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		cancel()
		<-r.Context().Done()
		return true
	}
	g := asking(s)
	g.Parallel = 1
	verdict, err := sdktest.Gate(t, g).Check(ctx, adding("a", "b", "c"))
	if verdict.Allowed || !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", verdict, err)
	}
	if n := len(s.questions()); n != 1 {
		t.Errorf("%d questions were asked", n)
	}
}
