package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// cluster is an engine of several processes: one that accepts requests and has
// the registry, and workers. They share a PostgreSQL, a Redis, and a directory
// or a bucket of logs and artifacts, and nothing else.
type cluster struct {
	*releases
	workers []*process
	config  string
	env     []string
}

func startCluster(t testing.TB, workers int, extra string) *cluster {
	t.Helper()
	return startClusterWith(t, workers, fmt.Sprintf("artifacts {\n  dir = %q\n}\n%s", t.TempDir(), extra))
}

// startClusterWith starts a cluster whose artifacts block is in extra.
func startClusterWith(t testing.TB, workers int, extra string) *cluster {
	t.Helper()
	postgres, redis := coretest.StartPostgres(t), coretest.StartRedis(t)
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		config: filepath.Join(t.TempDir(), "iib.hcl"),
		env:    []string{"IIB_DATABASE_URL=" + postgres.Database(), "IIB_REDIS_URL=" + redis, "IIB_TEST_KEY=" + strings.Repeat("5e", 32)},
	}
	address := loopback.Address(t)
	config := shippedWithout(t, "server {") // the block begins again below
	config = strings.Replace(config, "  # The API answers here.", "server {\n  external_url = \"http://"+address+"\"\n\n  # The API answers here.", 1)
	config = strings.Replace(config, "registry {", fmt.Sprintf("registry {\n  address    = %q\n  plain_http = [%q]\n", address, address), 1)
	config += "secrets {\n  key = env(\"IIB_TEST_KEY\")\n}\n" + extra
	if err := os.WriteFile(c.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	api := &process{
		t: t, dataDir: t.TempDir(), config: c.config, bin: bin, url: "http://" + address,
		args: []string{"server", "--roles", "api"}, env: c.env,
	}
	api.start()
	t.Cleanup(func() {
		api.stop()
		if t.Failed() {
			t.Logf("the API printed:\n%s", api.stderr)
		}
	})
	c.releases = newReleases(t, api)
	for range workers {
		c.add()
	}
	return c
}

// add starts one more worker, with a data directory of its own.
func (c *cluster) add(args ...string) *process {
	c.t.Helper()
	w := &process{
		t: c.t, dataDir: c.t.TempDir(), config: c.config, bin: c.bin,
		args: append([]string{"worker"}, args...), env: c.env,
	}
	w.launch()
	c.workers = append(c.workers, w)
	c.t.Cleanup(func() {
		w.stop()
		if c.t.Failed() {
			c.t.Logf("a worker printed:\n%s", w.stderr)
		}
	})
	return w
}

// followed is a request's log, as the API shows it while it grows.
func (c *cluster) followed(id any) *lockedBuffer {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/builds/%v/logs?follow=true", c.url, id), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	log, done := new(lockedBuffer), make(chan struct{})
	go func() {
		defer close(done)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return
		}
		defer response.Body.Close()
		_, _ = io.Copy(log, response.Body)
	}()
	c.t.Cleanup(func() { cancel(); <-done })
	return log
}

// addHeld submits an add whose bundle nobody can read before open is called,
// and returns when a worker waits for it.
func (c *cluster) addHeld(index, bundle string) (id any, open func()) {
	c.t.Helper()
	host, waits, open := c.held(bundle)
	status, answer := c.post("/api/v1/builds/add", map[string]any{
		"bundles":    []string{strings.Replace(bundle, c.registry(), host, 1)},
		"from_index": index, "binary_image": c.base, "overwrite_from_index": true,
	})
	if status != http.StatusCreated {
		c.t.Fatalf("%d %v", status, answer)
	}
	await(c.t, waits)
	return answer["id"], open
}

var attemptLine = regexp.MustCompile(`attempt (\d+) on worker [^ /]*/(\d+)/`)

// holder waits until a log tells of the n-th run, and returns the worker's
// place among the workers and the number of the attempt.
func (c *cluster) holder(log *lockedBuffer, n int) (worker int, attempt string) {
	c.t.Helper()
	for range poll(c.t) {
		runs := attemptLine.FindAllStringSubmatch(log.String(), -1)
		if len(runs) < n {
			continue
		}
		for i, w := range c.workers {
			if strconv.Itoa(w.command.Process.Pid) == runs[n-1][2] {
				return i, runs[n-1][1]
			}
		}
		c.t.Fatalf("no worker here is process %s", runs[n-1][2])
	}
	return 0, ""
}

// takeover is how long the request of a dead worker may wait for another one,
// with room for a busy machine: 3 seconds are the aim on a quiet one.
const takeover = 6 * time.Second

func TestOneAPIAndTwoWorkers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, "")
	t.Run("complete requests, and the API tells what they logged", func(t *testing.T) {
		index := c.emptyIndex("shared:v4.14", fileBased, false)
		want := make(map[string][]string)
		var ids []any
		for operator := range 6 {
			specs, list := c.bundles(operator, 1)
			for name, bundles := range names(list) {
				want[name] = bundles
			}
			status, answer := c.post("/api/v1/builds/add", map[string]any{
				"bundles": specs, "from_index": index, "binary_image": c.base, "overwrite_from_index": true,
			})
			if status != http.StatusCreated {
				t.Fatalf("%d %v", status, answer)
			}
			ids = append(ids, answer["id"])
		}
		pids := make(map[string]bool)
		for _, id := range ids {
			if build := c.wait(id); build["state"] != "complete" {
				t.Errorf("%v", build["state_reason"])
			}
			_, log := c.get(fmt.Sprintf("/api/v1/builds/%v/logs", id))
			run := attemptLine.FindSubmatch(log)
			if run == nil {
				t.Fatalf("the log of request %v tells no worker:\n%s", id, log)
			}
			pids[string(run[2])] = true
		}
		if pids[strconv.Itoa(c.command.Process.Pid)] {
			t.Error("the API's process ran a request")
		}
		if diff := cmp.Diff(want, c.contents(index)); diff != "" {
			t.Error(diff)
		}
	})
	for i, end := range []struct {
		name, attempt string
		die           func(*process)
	}{
		{"a worker that is killed is replaced by the other", "2", (*process).kill},
		{"a worker that is stopped hands its request back", "1", (*process).stop},
	} {
		t.Run(end.name, func(t *testing.T) {
			// What a worker has read before it need not read again.
			specs, list := c.bundles(20+i, 1)
			index := c.emptyIndex("held-"+end.attempt+":v4.14", fileBased, false)
			id, open := c.addHeld(index, specs[0])
			log := c.followed(id)
			first, _ := c.holder(log, 1)
			dead := c.workers[first]
			plugins := dead.pids("index-add")
			if len(plugins) == 0 {
				t.Fatal("the worker's plugin was not found")
			}
			began := time.Now()
			end.die(dead)
			second, attempt := c.holder(log, 2)
			waited := time.Since(began)
			t.Logf("the other worker had it after %s", waited.Round(time.Millisecond))
			if waited > takeover {
				t.Errorf("the request waited %s for another worker", waited)
			}
			if second == first || attempt != end.attempt {
				t.Errorf("attempt %s on worker %d after %d", attempt, second, first)
			}
			open()
			if build := c.wait(id); build["state"] != "complete" {
				t.Fatalf("%v", build["state_reason"])
			}
			if diff := cmp.Diff(names(list), c.contents(index)); diff != "" {
				t.Error(diff)
			}
			for _, pid := range plugins {
				for range poll(t) {
					if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
						break
					}
				}
			}
			dead.launch()
			if left, err := filepath.Glob(filepath.Join(dead.dataDir, "work", "*", "request-*")); err != nil || len(left) > 0 {
				t.Errorf("workspaces are left: %v %v", left, err)
			}
		})
	}
	t.Run("each process runs the plugins that it needs", func(t *testing.T) {
		_, body := c.get("/api/v1/plugins")
		for name, wanted := range map[string]bool{"index-add": true, "registry": true, "image-builder": false, "customizations": false} {
			if strings.Contains(string(body), `"`+name+`"`) != wanted {
				t.Errorf("%s in the API: want %v in %s", name, wanted, body)
			}
		}
		for _, w := range c.workers {
			if len(w.pids("registry")) > 0 {
				t.Error("a worker runs the registry")
			}
		}
		if status, body := c.get("/readyz"); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("a worker tells how it is", func(t *testing.T) {
		address := loopback.Address(t)
		c.add("--queues", "default", "--health", address)
		worker := &process{t: t, url: "http://" + address}
		for range poll(t) {
			if status, _ := worker.get("/readyz"); status == http.StatusOK {
				break
			}
		}
		if status, _ := worker.get("/api/v1/builds"); status != http.StatusNotFound {
			t.Errorf("a worker answers the API: %d", status)
		}
	})
}

func TestAWorkerThatCannotShareSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dataDir: t.TempDir(), bin: bin, env: nil}
	file := filepath.Join(t.TempDir(), "iib.hcl")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.want(exitFault, []string{"redis.url", "registry.address", "server.external_url", "secrets.key"}, "worker", "--config", file)
	p.want(exitFault, []string{"redis.url"}, "server", "--roles", "api", "--config", file)
	p.want(exitUsage, []string{`no queue "urgent"`, "default"}, "worker", "--queues", "urgent", "--config", file)
	p.want(exitUsage, []string{`no role "web"`}, "server", "--roles", "web", "--config", file)
	p.want(exitUsage, []string{"iib worker"}, "server", "--roles", "worker", "--config", file)
}
