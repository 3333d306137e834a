package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	p, alone := startPushService(t, fmt.Sprintf(`    koji {
      hub_url  = "%[1]s/kojihub"
      root_url = "%[1]s/kojiroot"
    }`, hub.URL))
	archive := zipOf(t, operatorFiles("web", "1.0.0"))
	for _, base := range []string{alone.base, p.url + "/omps"} {
		at := &pusher{t: t, base: base, client: alone.client, auth: alone.auth}
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

// TestAnOutageOfTheRegistryInAPushLeavesNoHalf kills the registry's plugin while
// it takes the archive of a push, and again each time that it comes back, until
// the push service gives up.
func TestAnOutageOfTheRegistryInAPushLeavesNoHalf(t *testing.T) {
	t.Parallel()
	p, at := startPushService(t, `    max_body         = 67108864
    max_uncompressed = 67108864
    max_package      = 134217728`)
	files := operatorFiles("web", "1.0.0")
	noise := make([]byte, 24<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	files["1.0.0/noise"] = string(noise)
	kind, body := formOf(t, "file", "m.zip", zipOf(t, files))

	// A push may be over before it is seen: then comes another.
	var organization string
	var status int
	var answer map[string]any
	for n := range poll(t) {
		organization = fmt.Sprintf("cut-%d", n)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			status, answer = postQuietly(t, at, "/v2/"+organization+"/zipfile", kind, body)
		}()
		if !p.stopRegistryInAnUpload(ended) {
			<-ended
			if status != http.StatusOK {
				t.Fatalf("without an outage: %d %v", status, answer)
			}
			continue
		}
		for over := false; !over; {
			for _, pid := range p.pids("plugins/registry") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			select {
			case <-ended:
				over = true
			case <-time.After(20 * time.Millisecond):
			}
		}
		break
	}
	message, _ := answer["message"].(string)
	if _, shown := answer["quay_response"].(map[string]any); status != 500 || answer["error"] != "QuayCourierError" || !strings.HasPrefix(message, "Failed to push manifest: ") || !shown {
		t.Errorf("the push ended with %d %v", status, answer)
	}
	p.awaitPlugins()
	if status, data := at.do(http.MethodGet, "/cnr/api/v1/packages?namespace="+organization, "", nil); status != 200 || string(data) != "[]" {
		t.Errorf("there is %d %s", status, data)
	}
	if status, answer := at.json(http.MethodDelete, "/v2/"+organization+"/web"); status != 404 || answer["error"] != "QuayPackageNotFound" {
		t.Errorf("there is something to delete: %d %v", status, answer)
	}
	if status, answer := postQuietly(t, at, "/v2/"+organization+"/zipfile", kind, body); status != 200 || answer["version"] != "1.0.0" {
		t.Fatalf("the next push: %d %v", status, answer)
	}
	_, data := at.do(http.MethodGet, "/cnr/api/v1/packages/"+organization+"/web/1.0.0/helm/pull", "", nil)
	pulled := untar(t, data)
	if pulled["1.0.0/noise"] != files["1.0.0/noise"] {
		t.Errorf("%d bytes were pushed, and others pulled", len(noise))
	}
	delete(files, "1.0.0/noise")
	delete(pulled, "1.0.0/noise")
	if diff := cmp.Diff(files, pulled); diff != "" {
		t.Error(diff)
	}
}

// postQuietly sends a body to a push service, from a goroutine of its own.
func postQuietly(t testing.TB, at *pusher, path, contentType string, body []byte) (status int, answer map[string]any) {
	request, err := http.NewRequest(http.MethodPost, at.base+path, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Authorization", at.auth)
	response, err := at.client.Do(request)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Error(err)
	}
	return response.StatusCode, answer
}

// stopRegistryInAnUpload halts the registry's process while it has a blob that
// it has not all of, and tells whether that came about before something ended.
func (p *process) stopRegistryInAnUpload(ended <-chan struct{}) bool {
	p.t.Helper()
	pids := p.pids("plugins/registry")
	for {
		select {
		case <-ended:
			return false
		default:
		}
		if !p.uploading() {
			continue
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
		if p.uploading() {
			return true
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// uploading tells whether the registry has the beginning of a blob's file.
func (p *process) uploading() (found bool) {
	_ = filepath.WalkDir(p.dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, "/uploads/") {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Size() > 0 {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}
