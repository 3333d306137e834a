package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAPushThatWaitsTooLongEndsAtItsDeadline has a push wait for one of the same
// package, which the application registry does not answer. The one that waits
// began earlier, so that its time is over first.
func TestAPushThatWaitsTooLongEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	answer, err := os.ReadFile("../../../plugins/omps/testdata/koji/build.xml")
	if err != nil {
		t.Fatal(err)
	}
	archive := zipOf(t, operatorFiles("web", "1.0.0"))
	askedKoji, mayAnswer, pushing := make(chan struct{}), make(chan struct{}), make(chan struct{})
	others := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case r.URL.Path == "/kojihub":
			close(askedKoji)
			<-mayAnswer
			w.Header().Set("Content-Type", "text/xml")
			_, _ = w.Write(answer)
		case strings.HasPrefix(r.URL.Path, "/kojiroot/"):
			_, _ = w.Write(archive)
		case r.Method == http.MethodPost && r.URL.Path == "/cnr/api/v1/packages/o/web":
			close(pushing)
			<-r.Context().Done()
		default:
			t.Errorf("asked for %s %s", r.Method, r.URL)
		}
	}))
	t.Cleanup(others.Close)
	_, at := startPushService(t, fmt.Sprintf(`    target   = "cnr"
    cnr_url  = %[1]q
    deadline = "20s"
    koji {
      hub_url  = "%[1]s/kojihub"
      root_url = "%[1]s/kojiroot"
    }`, others.URL))
	type end struct {
		status int
		answer map[string]any
	}
	send := func(path, kind string, body []byte) <-chan end {
		ended := make(chan end, 1)
		go func() {
			status, answer := postQuietly(t, at, path, kind, body)
			ended <- end{status, answer}
		}()
		return ended
	}
	arrives := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(patience):
			t.Fatal(what)
		}
	}
	waiting := send("/v2/o/koji/op-1-2/1.0.0", "", nil)
	arrives("Koji was not asked", askedKoji)
	kind, body := formOf(t, "file", "m.zip", archive)
	holding := send("/v2/o/zipfile/1.0.0", kind, body)
	arrives("nothing was pushed", pushing)
	close(mayAnswer)
	row := tableRow{status: 500, id: "InternalServerError", words: []string{"longer than it may"}}
	first := <-waiting
	row.wantFault(t, first.status, first.answer)
	second := <-holding
	row = tableRow{status: 500, id: "QuayCourierError", words: []string{"Failed to push manifest: ", "did not answer"}, extra: map[string]string{"quay_response": "{}"}}
	row.wantFault(t, second.status, second.answer)
}
