package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A thousand clients send the same submission five times each, all at once,
// with one key, while workers run it: there is one build.
func TestAThousandClientsWithOneKeyMakeOneBuild(t *testing.T) {
	t.Parallel()
	const clients, tries = 1000, 5
	plugin := buildExample(t, "echo-handler")
	p := startServer(t, fmt.Sprintf("plugin \"echo-handler\" {\n  kind = \"handler\"\n  path = %q\n}\n", plugin))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	send := func(body string) (int, int64, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/api/v1/builds/echo", strings.NewReader(body))
		if err != nil {
			return 0, 0, err.Error()
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", "the one key")
		response, err := client.Do(request)
		if err != nil {
			return 0, 0, err.Error()
		}
		defer response.Body.Close()
		var answer struct {
			ID    int64
			Error string
		}
		err = json.NewDecoder(response.Body).Decode(&answer)
		return response.StatusCode, answer.ID, fmt.Sprint(answer.Error, err)
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			<-start
			for range tries {
				status, id, fault := send(`{"text":"hello"}`)
				mu.Lock()
				seen[fmt.Sprintf("%d: build %d %s", status, id, fault)]++
				mu.Unlock()
			}
		})
	}
	close(start)
	wg.Wait()
	if len(seen) != 1 || seen["201: build 1 <nil>"] != clients*tries {
		t.Errorf("the answers: %v", seen)
	}
	_, data := p.get("/api/v1/builds?all_types=true")
	var list struct{ Meta struct{ Total int } }
	if err := json.Unmarshal(data, &list); err != nil || list.Meta.Total != 1 {
		t.Errorf("%d builds: %s", list.Meta.Total, data)
	}
	if status, _, fault := send(`{"text":"another"}`); status != http.StatusConflict || !strings.Contains(fault, "idempotency key") {
		t.Errorf("another body with the key: %d %s", status, fault)
	}
	if done := p.wait(1); done["state"] != "complete" {
		t.Errorf("%v", done)
	}
}
