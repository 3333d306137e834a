package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// kept is a program that is started again whenever it ends, as an operating
// system does it with a service.
type kept struct {
	name, program string
	args, env     []string
	dataDir, log  string
	// clock is nil if the program has that of the test.
	clock *machineClock

	mu      sync.Mutex
	process *child.Process
	ended   bool
	done    chan struct{}
}

// keep starts the program for the first time.
func (k *kept) keep() {
	k.done = make(chan struct{})
	go func() {
		defer close(k.done)
		for k.live() {
			time.Sleep(100 * time.Millisecond) // as systemd's RestartSec has it
		}
	}()
}

// live is one life of the program. It reports false when it was the last.
func (k *kept) live() bool {
	log, err := os.OpenFile(k.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	defer log.Close()
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return false
	}
	c := exec.Command(k.program, k.args...)
	c.Env, c.Stdout, c.Stderr = k.env, log, log
	process, err := child.Start(c)
	k.process = process
	k.mu.Unlock()
	if err != nil {
		return false
	}
	_ = process.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.ended
}

func (k *kept) signal(s syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != nil {
		_ = k.process.Signal(s)
	}
}

// end ends the program for good, and tells whether it had to be killed.
func (k *kept) end() (killed bool) {
	k.mu.Lock()
	k.ended = true
	k.mu.Unlock()
	k.signal(syscall.SIGCONT)
	k.signal(syscall.SIGTERM)
	select {
	case <-k.done:
		return false
	case <-time.After(patience):
		k.signal(syscall.SIGKILL)
		<-k.done
		return true
	}
}

// plugins are the processes that the program has started.
func (k *kept) plugins() []int {
	k.mu.Lock()
	process := k.process
	k.mu.Unlock()
	if process == nil {
		return nil
	}
	out, _ := exec.Command("pgrep", "-P", strconv.Itoa(process.PID())).Output()
	var pids []int
	for _, field := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// tail is the end of what the program has printed.
func (k *kept) tail() string {
	data, err := os.ReadFile(k.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-262144):])
}

// estate is an engine of many processes with everything that it stands on, each
// of which may be killed: PostgreSQL, Redis, and a registry, which is an engine
// of its own. Its releases are pushed to that registry.
type estate struct {
	*releases
	bin, config string
	// host is that of the registry, artifacts the directory of logs and artifacts.
	host, artifacts string
	// secretive keeps the database's address out of the environment of processes,
	// and env is added to it.
	secretive bool
	env       []string
	// clocks says that each program has a wall clock of its own.
	clocks bool
	// temporary has the temporary files of all processes, and nothing else.
	temporary string
	postgres  *coretest.Postgres
	database  string
	redis     *coretest.Redis
	receiver  *receiver
	store     *kept // of images
	apis      []*kept
	urls      []string // of the APIs
	workers   []*kept
}

// engineConfig is what all processes of an engine share. Each may edit what it
// is given.
const engineConfig = `
server {
  listen       = "127.0.0.1:0"
  data_dir     = "data"
  external_url = %q
}
identity "header" {
  header = "X-Remote-User"
  from   = ["127.0.0.0/8"]
}
access {
  privileged = ["ada", "bob", "cyd", "dan", "eve"]
}
database { url = env("IIB_DATABASE_URL") }
redis { url = env("IIB_REDIS_URL") }
registry {
  address    = %q
  plain_http = [%q]
  push       = "{registry}/iib-build:{request_id}"
}
secrets { key = env("IIB_TEST_KEY") }
artifacts { dir = %q }
build { builder = "image-builder" }
organization "*" {
  customize "resolve_image_pullspecs" {}
}
plugin "index-add" { kind = "handler" }
plugin "index-rm" { kind = "handler" }
plugin "index-merge" { kind = "handler" }
plugin "index-empty" { kind = "handler" }
plugin "fbc-operations" { kind = "handler" }
plugin "regenerate-bundle" { kind = "handler" }
plugin "related-bundles" { kind = "handler" }
plugin "image-builder" { kind = "builder" }
plugin "customizations" { kind = "customizer" }
`

// users are those who submit.
var users = []string{"ada", "bob", "cyd", "dan", "eve"}

const registryConfig = `
server { data_dir = "data" }
identity "none" {}
plugin "registry" {
  kind   = "service"
  mounts = ["/v2/", "/api/v1/repository/"]
}
`

// newEstate starts everything, with a configuration that may be edited. At the
// end all of it is stopped.
func newEstate(t *testing.T, apis, workers int, edits ...func(e *estate, config string) string) *estate {
	t.Helper()
	e := &estate{postgres: coretest.StartPostgres(t), redis: coretest.NewRedis(t), receiver: newReceiver(t)}
	e.database = e.postgres.Database()
	e.receiver.up()
	var err error
	if e.bin, err = binaries(); err != nil {
		t.Fatal(err)
	}
	registryConfig := registryConfig
	if *tortureClocks {
		e.bin, e.clocks = programsWithClocks(t), true
		registryConfig = withClocks(registryConfig)
	}
	// A socket's address must be short, which a test's directory need not be.
	if e.temporary, err = os.MkdirTemp("", "iib-t-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(e.temporary) })
	registry := loopback.Address(t)
	for range apis {
		e.urls = append(e.urls, "http://"+loopback.Address(t))
	}
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	e.store = e.start(t, "registry", []string{"server", "--config", write("registry.hcl", registryConfig)}, "IIB_LISTEN="+registry)
	e.host, e.artifacts = registry, t.TempDir()
	config := fmt.Sprintf(engineConfig, e.urls[0], registry, registry, e.artifacts) + e.receiver.config()
	for _, edit := range edits {
		config = edit(e, config)
	}
	if e.clocks {
		config = withClocks(config)
	}
	e.config = write("iib.hcl", config)
	for i := range apis {
		e.apis = append(e.apis, e.start(t, fmt.Sprintf("API %d", i+1), []string{"server", "--roles", "api", "--config", e.config},
			"IIB_LISTEN="+strings.TrimPrefix(e.urls[i], "http://")))
	}
	for i := range workers {
		e.workers = append(e.workers, e.start(t, fmt.Sprintf("worker %d", i+1), []string{"worker", "--config", e.config}))
	}
	e.releases = &releases{process: &process{t: t, url: "http://" + registry}}
	e.awaitRegistry()
	e.releases = newReleases(t, e.process)
	for _, url := range e.urls {
		(&process{t: t, url: url}).awaitPlugins()
	}
	return e
}

func (e *estate) start(t *testing.T, name string, args []string, env ...string) *kept {
	t.Helper()
	k := &kept{
		name: name, program: filepath.Join(e.bin, "iib"), args: args, dataDir: t.TempDir(),
		log: filepath.Join(t.TempDir(), "log"),
	}
	k.env = append(os.Environ(), "TMPDIR="+e.temporary, "IIB_DATA_DIR="+k.dataDir, "IIB_DATABASE_URL="+e.database,
		"IIB_REDIS_URL="+e.redis.URL(), "IIB_TEST_KEY="+strings.Repeat("5e", 32))
	if name == "registry" || e.secretive {
		k.env = append(k.env, "IIB_DATABASE_URL=", "IIB_REDIS_URL=", "IIB_TEST_KEY=")
	}
	k.env = slices.Concat(k.env, e.env, env)
	if e.clocks {
		k.clock = newMachineClock(t)
		k.env = append(k.env, clockVariable+"="+k.clock.path)
	}
	k.keep()
	t.Cleanup(func() {
		k.end()
		if t.Failed() {
			t.Logf("%s printed:\n%s", k.name, k.tail())
		}
	})
	return k
}

func (e *estate) awaitRegistry() {
	e.t.Helper()
	for range poll(e.t) {
		if status, _ := e.get("/v2/"); status == http.StatusOK {
			return
		}
	}
}

// reopenRegistry starts the registry after everything was ended.
func (e *estate) reopenRegistry() {
	e.t.Helper()
	e.store.ended = false
	e.store.keep()
	e.awaitRegistry()
}

// programs are all processes but PostgreSQL and Redis.
func (e *estate) programs() []*kept {
	return append(append([]*kept{e.store}, e.apis...), e.workers...)
}

// leftovers ends all programs and returns what they leave: processes, files
// among the temporary ones, and workspaces.
func (e *estate) leftovers() (left []string) {
	for _, k := range e.programs() {
		if k.end() {
			left = append(left, k.name+" did not end when it was told to")
		}
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), e.temporary) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		left = append(left, "process "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	patterns := []string{filepath.Join(e.temporary, "*")}
	for _, k := range e.programs() {
		patterns = append(patterns, filepath.Join(k.dataDir, workSubdir, "*"))
	}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			left = append(left, err.Error())
		}
		left = append(left, files...)
	}
	return left
}
