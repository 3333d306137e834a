// Command demo sends a request the whole way through an engine of its own, and
// shows what comes of it: the states as they happen, the image, and the
// catalog found by reading the image back.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/iib-engine/iib/sdk/image/imagetest"
)

func main() {
	bin := flag.String("bin", "bin", "the directory of iib and its plugins")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string) error {
	dir, err := os.MkdirTemp("", "iib-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := start(ctx, bin, dir)
	if err != nil {
		return err
	}
	defer server.stop()
	fmt.Printf("engine     %s (started in %s)\n", server.url, server.took.Round(time.Millisecond))

	registry := strings.TrimPrefix(server.url, "http://")
	pusher, err := imagetest.New(dir)
	if err != nil {
		return err
	}
	defer pusher.Client.Close()
	began := time.Now()
	inputs, err := pushInputs(ctx, pusher, registry)
	if err != nil {
		return err
	}
	fmt.Printf("pushed     %d bundles of %d operators and a base image for %s in %s\n", len(inputs.bundles), inputs.operators,
		strings.Join(arches, ", "), time.Since(began).Round(time.Millisecond))

	build, err := server.add(ctx, inputs)
	if err != nil {
		return err
	}
	return show(ctx, pusher.Client, build)
}

// server is the engine under demonstration.
type server struct {
	url     string
	took    time.Duration
	command *exec.Cmd
}

// start runs the shipped configuration on a free port.
func start(ctx context.Context, bin, dir string) (*server, error) {
	began := time.Now()
	program, err := filepath.Abs(filepath.Join(bin, "iib"))
	if err != nil {
		return nil, err
	}
	s := &server{command: exec.Command(program, "server", "--config", "iib.hcl")}
	s.command.Env = append(os.Environ(), "IIB_LISTEN=127.0.0.1:0", "IIB_DATA_DIR="+filepath.Join(dir, "data"))
	log := new(bytes.Buffer)
	s.command.Stderr = log
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s (run make build first): %w", program, err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = s.command.Wait()
		return nil, fmt.Errorf("the engine did not start: %s", log)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	s.url = strings.Fields(line)[3]
	for ctx.Err() == nil {
		var plugins struct {
			Items []struct{ State string }
		}
		if err := get(ctx, s.url+"/api/v1/plugins", &plugins); err == nil && len(plugins.Items) > 0 {
			running := 0
			for _, p := range plugins.Items {
				if p.State == "running" {
					running++
				}
			}
			if running == len(plugins.Items) {
				s.took = time.Since(began)
				return s, nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.stop()
	return nil, ctx.Err()
}

func (s *server) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM)
	_ = s.command.Wait()
}

// build is what the demonstration needs of a request's representation.
type build struct {
	ID       int64    `json:"id"`
	State    string   `json:"state"`
	Reason   string   `json:"state_reason"`
	Arches   []string `json:"arches"`
	Index    string   `json:"index_image"`
	Resolved string   `json:"index_image_resolved"`
}

// add submits the request and prints its states as they happen, each with the
// time that the one before took.
func (s *server) add(ctx context.Context, inputs *inputs) (*build, error) {
	body, err := json.Marshal(map[string]any{
		"bundles": inputs.bundles, "from_index": inputs.index, "binary_image": inputs.base, "add_arches": arches,
	})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	b := new(build)
	if err := call(ctx, http.MethodPost, s.url+"/api/v1/builds/add", bytes.NewReader(body), b); err != nil {
		return nil, err
	}
	fmt.Printf("request    %d: add %d bundles to %s\n", b.ID, len(inputs.bundles), inputs.index)
	if err := s.follow(ctx, b, began); err != nil {
		return nil, err
	}
	if b.State != "complete" {
		return nil, errors.New(b.Reason)
	}
	return b, nil
}

// follow reads the request's live events until its last one.
func (s *server) follow(ctx context.Context, b *build, began time.Time) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/builds/%d/events", s.url, b.ID), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event build
		if err := json.Unmarshal([]byte(data), &event); err != nil || event.ID == 0 {
			continue
		}
		*b = event
		fmt.Printf("  %6s   %s: %s\n", time.Since(began).Round(time.Millisecond), b.State, b.Reason)
	}
	return lines.Err()
}

func get(ctx context.Context, url string, into any) error {
	return call(ctx, http.MethodGet, url, nil, into)
}

func call(ctx context.Context, method, url string, body io.Reader, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, data)
	}
	return json.Unmarshal(data, into)
}
