package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// examples is where the example plugins and those of testdata lie, built once.
var examples = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "iib-examples-")
	if err != nil {
		return "", err
	}
	examplesDir = dir
	command := exec.Command("go", "build", "-o", dir+"/", "../../../docs/examples/echo-handler", "./testdata/actor")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// examplesDir is empty as long as no test has asked for examples.
var examplesDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if examplesDir != "" {
		_ = os.RemoveAll(examplesDir)
	}
	os.Exit(code)
}

// example is the path of one of the examples.
func example(t testing.TB, name string) string {
	t.Helper()
	dir, err := examples()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// post is what a receiver got.
type post struct {
	ID      string
	Kind    string
	Request int64 `json:"id"`
	Batch   int64
	State   string
	Reason  string `json:"state_reason"`
}

// receiver takes webhooks on one address, up or down.
type receiver struct {
	t       testing.TB
	address string
	answer  atomic.Pointer[http.HandlerFunc]

	mu     sync.Mutex
	server *httptest.Server
	posts  []post
}

// newReceiver returns one that is down.
func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{t: t, address: loopback.Address(t)}
	t.Cleanup(r.down)
	return r
}

func (r *receiver) up() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	server := httptest.NewUnstartedServer(r)
	server.Listener.Close()
	for range poll(r.t) {
		listener, err := net.Listen("tcp", r.address)
		if err == nil {
			server.Listener = listener
			break
		}
	}
	server.Start()
	r.server = server
}

func (r *receiver) down() {
	r.mu.Lock()
	server := r.server
	r.server = nil
	r.mu.Unlock()
	if server != nil {
		server.CloseClientConnections()
		server.Close()
	}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if answer := r.answer.Load(); answer != nil {
		(*answer)(w, request)
		return
	}
	r.take(request)
}

func (r *receiver) take(request *http.Request) {
	body, err := io.ReadAll(request.Body)
	p := post{ID: request.Header.Get("Iib-Event"), Kind: request.Header.Get("Iib-Event-Kind")}
	if err != nil || json.Unmarshal(body, &p) != nil {
		r.t.Errorf("a post that is not JSON: %s, %v", body, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts = append(r.posts, p)
}

func (r *receiver) got() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts...)
}

// config is the block of a notifier that posts here.
func (r *receiver) config() string {
	return fmt.Sprintf(`
plugin "webhook-notify" {
  kind = "notifier"
  config {
    url    = "http://%s/"
    secret = "a secret of this test"
  }
}
`, r.address)
}

// echoes is the block of the handler of echo, and others.
func echoes(t testing.TB, extra string) string {
	t.Helper()
	return fmt.Sprintf("plugin \"echo-handler\" {\n  kind = \"handler\"\n  path = %q\n}\n", example(t, "echo-handler")) + extra
}

// echo submits so many requests at once and returns their IDs.
func (p *process) echo(count int) []int64 {
	p.t.Helper()
	ids := make([]int64, count)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				status, answer := p.post("/api/v1/builds/echo", map[string]any{"text": "hello"})
				id, ok := answer["id"].(float64)
				if status != http.StatusCreated || !ok {
					p.t.Errorf("%d %v", status, answer)
				}
				ids[i] = int64(id)
			}
		})
	}
	for i := range ids {
		next <- i
	}
	close(next)
	wg.Wait()
	return ids
}

// standing is how the only notifier stands.
type standing struct {
	Name                    string
	Enabled                 bool
	Behind, Waiting, Parked int64
	LastError               *string `json:"last_error"`
}

func (p *process) standing() standing {
	p.t.Helper()
	var answer struct{ Items []standing }
	status, body := p.get("/api/v1/notifiers")
	if status == http.StatusOK && json.Unmarshal(body, &answer) == nil && len(answer.Items) == 1 {
		return answer.Items[0]
	}
	return standing{Behind: -1}
}

// awaitDelivered returns when nothing waits for the notifier.
func (p *process) awaitDelivered() {
	p.t.Helper()
	for range poll(p.t) {
		if s := p.standing(); s.Behind == 0 && s.Waiting == 0 {
			if s.Parked != 0 {
				p.t.Errorf("%d events are parked", s.Parked)
			}
			return
		}
	}
}

// checkPosts compares what a receiver got with the histories of requests: all
// of it, in order, and nothing twice but with the same event ID. It returns how
// many posts were repetitions.
func checkPosts(t *testing.T, p *process, posts []post, ids []int64) (repeated int) {
	t.Helper()
	seen := make(map[string]post)
	requests := make(map[int64][]string)
	batches := make(map[int64][]string)
	for _, got := range posts {
		if before, ok := seen[got.ID]; ok {
			repeated++
			if diff := cmp.Diff(before, got); diff != "" {
				t.Errorf("event %s is another the second time:\n%s", got.ID, diff)
			}
			continue
		}
		seen[got.ID] = got
		if got.Kind == "batch" {
			batches[got.Batch] = append(batches[got.Batch], got.State)
		} else {
			requests[got.Request] = append(requests[got.Request], got.State+" "+got.Reason)
		}
	}
	for _, id := range ids {
		_, body := p.get(fmt.Sprintf("/api/v1/builds/%d", id))
		var build struct {
			Batch   int64
			History []struct {
				State  string
				Reason string `json:"state_reason"`
			} `json:"state_history"`
		}
		if err := json.Unmarshal(body, &build); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, entry := range build.History {
			want = append([]string{entry.State + " " + entry.Reason}, want...)
		}
		if diff := cmp.Diff(want, requests[id]); diff != "" {
			t.Errorf("request %d (-history +heard):\n%s", id, diff)
		}
		if diff := cmp.Diff([]string{"in_progress", "complete"}, batches[build.Batch]); diff != "" {
			t.Errorf("batch %d (-want +heard):\n%s", build.Batch, diff)
		}
	}
	return repeated
}

// killPlugin ends a plugin's process as a fault would.
func (p *process) killPlugin(program string) {
	p.t.Helper()
	for range poll(p.t) {
		pids := p.pids(program)
		for _, pid := range pids {
			if process, err := os.FindProcess(pid); err == nil {
				_ = process.Kill()
			}
		}
		if len(pids) > 0 {
			return
		}
	}
}

func TestEveryStateIsHeardByAListenerThatWasDown(t *testing.T) {
	r := newReceiver(t)
	p := startServer(t, echoes(t, r.config()))
	began := time.Now()
	ids := p.echo(500)
	for _, id := range ids {
		if state := p.wait(id)["state"]; state != "complete" {
			t.Fatalf("request %d is %v while the listener is down", id, state)
		}
	}
	if s := p.standing(); s.Parked != 0 || s.LastError == nil || len(r.got()) != 0 {
		t.Errorf("while the listener is down: %+v, %d posts", s, len(r.got()))
	}
	ran := time.Now()
	r.up()
	p.awaitDelivered()
	t.Logf("%d requests ran in %s while the listener was down; it heard %d events within %s of its return",
		len(ids), ran.Sub(began).Round(time.Millisecond), len(r.got()), time.Since(ran).Round(time.Millisecond))
	if repeated := checkPosts(t, p, r.got(), ids); repeated != 0 {
		t.Errorf("%d posts were made twice", repeated)
	}
}

func TestEveryStateIsHeardWhateverDies(t *testing.T) {
	r := newReceiver(t)
	p := startServer(t, echoes(t, r.config()))
	r.up()
	// heard returns when so many posts came.
	heard := func(n int) {
		for range poll(t) {
			if len(r.got()) >= n {
				return
			}
		}
	}
	submitted := make(chan []int64)
	go func() { submitted <- p.echo(200) }()
	heard(50)
	p.killPlugin("webhook-notify")
	ids := <-submitted
	heard(200)
	p.killPlugin("webhook-notify")
	heard(400)
	p.kill()
	r.down()
	p.start()
	r.up()
	ids = append(ids, p.echo(20)...)
	for _, id := range ids {
		if state := p.wait(id)["state"]; state != "complete" {
			t.Fatalf("request %d is %v", id, state)
		}
	}
	p.awaitDelivered()
	t.Logf("%d of %d posts were repetitions", checkPosts(t, p, r.got(), ids), len(r.got()))
}
