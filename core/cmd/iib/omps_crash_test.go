package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAPluginThatIsKilledInAPushLeavesNothing kills it while it waits for the
// archive of a build, in the middle of a push.
func TestAPluginThatIsKilledInAPushLeavesNothing(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	hub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		// The server notices that a client has gone only when the body is read.
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(hub.Close)
	own := freeAddress(t)
	p := startServer(t, fmt.Sprintf(`
plugin "omps" {
  kind               = "service"
  mount              = "/omps/"
  pass_authorization = true
  listener %q {}
  config {
    koji {
      hub_url  = "%[2]s/kojihub"
      root_url = "%[2]s/kojiroot"
    }
  }
}
`, own, hub.URL))
	archive := zipOf(t, operatorFiles("web", "1.0.0"))
	for _, base := range []string{"http://" + own, p.url + "/omps"} {
		at := &pusher{t: t, base: base, client: http.DefaultClient, auth: "basic dXNlcjpwYXNzd29yZA=="}
		ended := make(chan int, 1)
		go func() {
			request, err := http.NewRequest(http.MethodPost, base+"/v2/killed/koji/web-1-2", nil)
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Authorization", at.auth)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				ended <- 0 // the connection was closed, which tells as much
				return
			}
			response.Body.Close()
			ended <- response.StatusCode
		}()
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Fatal("the hub was not asked")
		}
		p.killPlugin("plugins/omps")
		select {
		case status := <-ended:
			if status != 0 && status/100 != 5 {
				t.Errorf("the push ended with %d", status)
			}
		case <-time.After(time.Minute):
			t.Fatal("the push did not end")
		}
		for range poll(t) {
			if status, _ := at.do(http.MethodGet, "/v2/about", "", nil); status == http.StatusOK {
				break
			}
		}
		if _, data := at.do(http.MethodGet, "/cnr/api/v1/packages?namespace=killed", "", nil); string(data) != "[]" {
			t.Errorf("there is %s", data)
		}
		if status, answer := at.push("/v2/killed/zipfile", "m.zip", archive); status != 200 || answer["version"] != "1.0.0" {
			t.Errorf("after that: %d %v", status, answer)
		}
		if status, answer := at.json(http.MethodDelete, "/v2/killed/web"); status != 200 {
			t.Errorf("%d %v", status, answer)
		}
	}
}
