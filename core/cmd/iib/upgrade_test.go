package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/coretest/ledger"
)

// actorVariable tells a configuration where the handler of a version lies.
const actorVariable = "IIB_TEST_ACTOR"

// programVersion is a build of the engine and of the plugin that handles its requests.
type programVersion struct {
	name, program, actor string
	// schema is the newest migration that it knows.
	schema int
}

// thisVersion is what is shipped.
func thisVersion(t *testing.T, bin string) programVersion {
	t.Helper()
	migrations, err := filepath.Glob("../../store/migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return programVersion{"this version", filepath.Join(bin, "iib"), scribe(t, example(t, "actor")), len(migrations)}
}

// scribe gives a build of the actor the name of its role.
func scribe(t *testing.T, actor string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "actor-scribe")
	if err := os.Symlink(actor, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// nextVersion builds a version that only adds: columns, a table, an event, and a
// member or more in everything that a program stores or sends for another one.
func nextVersion(t *testing.T, this programVersion) programVersion {
	t.Helper()
	e, dir := newEdition(t), t.TempDir()
	e.write(fmt.Sprintf("../../store/migrations/%04d_next.sql", this.schema+1), fmt.Sprintf(`-- oldest: %d
ALTER TABLE batches ADD COLUMN forecast <text>;
ALTER TABLE runs ADD COLUMN mood <text> NOT NULL DEFAULT 'calm';
CREATE TABLE moods (name <text> PRIMARY KEY) <clustered>;
`, this.schema))
	e.edit("../../store/create.go",
		"(submitter, annotations, open, failed) VALUES ($1, $2, $3, 0)",
		"(submitter, annotations, open, failed, forecast) VALUES ($1, $2, $3, 0, 'fair')",
		"\tt.notes = append(t.notes, note{kind: core.BatchEvent,",
		"\tt.notes = append(t.notes, note{kind: \"forecast\", time: t.now, batch: batch, state: \"expected\"})\n"+
			"\tt.notes = append(t.notes, note{kind: core.BatchEvent,")
	e.edit("../../store/seal.go",
		"type credentials struct {\n", "type credentials struct {\n\tVersion int `json:\"version\"`\n",
		"\tvar c credentials\n\tfor name, secret := range secrets {", "\tc := credentials{Version: 2}\n\tfor name, secret := range secrets {")
	e.edit("../../queue/payload.go", `[]byte("0")`, "[]byte(`{\"version\": 2}`)")
	e.build(filepath.Join(dir, "iib"), ".")
	if err := os.Symlink(filepath.Join(filepath.Dir(this.program), "plugins"), filepath.Join(dir, "plugins")); err != nil {
		t.Fatal(err)
	}
	e.edit("testdata/actor/main.go", `{"lines": scribe{}}`, `{"lines": scribe{}, "verses": scribe{}}`)
	e.add("testdata/actor/next.go", "testdata/next/scribe.go.txt")
	e.build(filepath.Join(dir, "actor"), "./testdata/actor")
	return programVersion{"the next version", filepath.Join(dir, "iib"), scribe(t, filepath.Join(dir, "actor")), this.schema + 1}
}

// becomes has the lives of the program that follow be those of a version.
func (k *kept) becomes(v programVersion) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.program = v.program
	k.env = append(k.env, actorVariable+"="+v.actor)
}

func (k *kept) pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process.PID()
}

// oneLinePlugins are the plugins of engineConfig, none of which takes part.
var oneLinePlugins = regexp.MustCompile(`(?m)^(plugin|build) .*\}\n`)

// upgrade is an engine whose processes change their version while it works.
type upgrade struct {
	*estate
	this, next programVersion
	// versions are the versions of all processes that there were.
	versions map[int]programVersion
	// stop ends what submits in the background.
	stop func()

	mu        sync.Mutex
	submitted []*errand
}

func newUpgrade(t *testing.T) *upgrade {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	u := &upgrade{this: thisVersion(t, bin), versions: make(map[int]programVersion)}
	u.next = nextVersion(t, u.this)
	u.estate = newEstate(t, 2, 3, func(e *estate, config string) string {
		e.env = []string{actorVariable + "=" + u.this.actor}
		config = oneLinePlugins.ReplaceAllString(config, "")
		config = strings.Replace(config, "organization \"*\" {\n  customize \"resolve_image_pullspecs\" {}\n}\n", "", 1)
		return config + fmt.Sprintf("plugin \"actor-scribe\" {\n  kind = \"handler\"\n  path = env(%q)\n}\n", actorVariable)
	})
	for _, k := range u.engines() {
		u.versions[k.pid()] = u.this
	}
	return u
}

// engines are the processes that share the work.
func (u *upgrade) engines() []*kept { return slices.Concat(u.apis, u.workers) }

// restart ends a process, as signal does, and returns when it is back in a
// version.
func (u *upgrade) restart(k *kept, signal syscall.Signal, v programVersion) {
	u.t.Helper()
	began := time.Now()
	u.restarts(k, signal, v)
	for range poll(u.t) {
		if pid := k.pid(); u.versions[pid].name == "" && u.works(k, pid) {
			u.versions[pid] = v
			u.t.Logf("%s is back in %s after %s: %s", k.name, v.name, signal, time.Since(began).Round(time.Millisecond))
			return
		}
	}
}

// restarts is restart for a process that may not come back.
func (u *upgrade) restarts(k *kept, signal syscall.Signal, v programVersion) {
	k.becomes(v)
	k.signal(signal)
}

// works reports whether an API is ready, or a worker has begun a request.
func (u *upgrade) works(k *kept, pid int) bool {
	if i := slices.Index(u.apis, k); i >= 0 {
		status, _ := (&process{t: u.t, url: u.urls[i]}).get("/readyz")
		return status == http.StatusOK
	}
	return u.query("SELECT count(*) FROM runs WHERE worker LIKE '%%/%d/%%'", pid) > 0
}

func (u *upgrade) query(format string, args ...any) int {
	u.t.Helper()
	n, err := strconv.Atoi(u.postgres.Query(u.database, fmt.Sprintf(format, args...))[0])
	if err != nil {
		u.t.Fatal(err)
	}
	return n
}

// errand returns a new one for the scribe.
func (u *upgrade) errand(key, requestType string, lines int) *errand {
	return &errand{
		Request: ledger.Request{Key: key, Type: requestType, Want: "complete"}, user: users[0],
		body: map[string]any{"Lines": lines, "Milliseconds": 50},
	}
}

// begin submits requests to all APIs from now on, one in four of which takes long
// enough to be handed over.
func (u *upgrade) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	s := &submitters{urls: u.urls, client: http.DefaultClient}
	var wg sync.WaitGroup
	for n := range 2 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 2))
			ticker := time.NewTicker(150 * time.Millisecond)
			defer ticker.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				e := u.errand(fmt.Sprintf("lines-%d-%d", n, i), "lines", 1+30*(i%4/3))
				// One that has begun is submitted, so that nothing is left unknown.
				s.submit(context.WithoutCancel(ctx), random, e)
				u.note(e)
				<-ticker.C
			}
		})
	}
	u.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	u.t.Cleanup(u.stop)
}

// submit submits one request to one API.
func (u *upgrade) submit(url, requestType string) int64 {
	u.t.Helper()
	e := u.errand(url+" "+requestType, requestType, 1)
	s := &submitters{urls: []string{url}, client: http.DefaultClient}
	s.submit(u.t.Context(), rand.New(rand.NewPCG(0, 3)), e)
	if len(e.IDs) != 1 {
		u.t.Fatalf("%s of %s: %v %s", requestType, url, e.IDs, e.Reason)
	}
	u.note(e)
	return e.IDs[0]
}

func (u *upgrade) note(e *errand) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.submitted = append(u.submitted, e)
}

// at is an API.
func (u *upgrade) at(i int) *process { return &process{t: u.t, url: u.urls[i]} }

// check fails unless all that was submitted is complete, each request once, and
// the listener heard of it once. It returns which versions accepted a request
// and ran it to its end, and how many requests were handed over.
func (u *upgrade) check(t *testing.T) (paths map[string]int, handedOver int) {
	t.Helper()
	paths = make(map[string]int)
	var ids []int64
	for _, e := range u.submitted {
		if len(e.IDs) != 1 {
			t.Fatalf("%s became the requests %v: %s", e.Key, e.IDs, e.Reason)
		}
		id := e.IDs[0]
		ids = append(ids, id)
		build := u.at(0).wait(id)
		if build["state"] != "complete" {
			t.Errorf("request %d is %v: %v", id, build["state"], build["state_reason"])
		}
		accepted := u.this
		if build["tempo"] == "allegro" {
			accepted = u.next
		}
		_, log := u.at(1).get(fmt.Sprintf("/api/v1/builds/%d/logs", id))
		runs := attemptLine.FindAllStringSubmatch(string(log), -1)
		if len(runs) == 0 {
			t.Fatalf("request %d logged\n%s", id, log)
		}
		if len(runs) > 1 {
			handedOver++
		}
		pid, err := strconv.Atoi(runs[len(runs)-1][2])
		if err != nil || u.versions[pid].name == "" {
			t.Errorf("request %d was run by an unknown process: %v", id, runs)
		}
		paths[accepted.name+" to "+u.versions[pid].name]++
	}
	for range poll(t) {
		if u.query("SELECT (SELECT value FROM counters WHERE name = 'event') - cursor + (SELECT count(*) FROM deliveries) FROM notifiers") == 0 {
			break
		}
	}
	posts := u.receiver.got()
	for _, post := range posts {
		if post.Kind != "request" && post.Kind != "batch" {
			t.Errorf("the listener heard %+v", post)
		}
	}
	checkPosts(t, u.at(0), posts, ids)
	if total := u.query("SELECT count(*) FROM requests"); total != len(ids) {
		t.Errorf("%d requests were submitted, and the database has %d", len(ids), total)
	}
	return paths, handedOver
}

// Two versions run side by side, in both directions, and nobody who submits or
// listens notices.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t)
	u.begin()

	// The first process of the next version migrates, under those of this one.
	u.restart(u.apis[0], syscall.SIGTERM, u.next)
	if at := u.query("SELECT max(version) FROM migrations"); at != u.next.schema {
		t.Fatalf("the schema has version %d", at)
	}
	// No worker knows this type yet.
	verses := u.submit(u.urls[0], "verses")
	u.at(1).awaitReason(verses, "leaves it to another one")

	u.restart(u.workers[0], syscall.SIGKILL, u.this)
	u.restart(u.workers[0], syscall.SIGTERM, u.next)
	u.restart(u.workers[1], syscall.SIGTERM, u.next)
	u.restart(u.apis[1], syscall.SIGKILL, u.this)
	u.restart(u.workers[2], syscall.SIGTERM, u.next)
	u.restart(u.apis[1], syscall.SIGTERM, u.next)
	if build := u.at(1).wait(verses); build["state"] != "complete" {
		t.Errorf("%v", build)
	}
	t.Log("all are of the next version")
	u.restart(u.workers[2], syscall.SIGTERM, u.this)
	u.restart(u.apis[1], syscall.SIGTERM, u.this)
	t.Log("one of each kind is back")

	// A later version leaves this one behind. What runs goes on, and the next
	// version does not notice.
	u.query("INSERT INTO migrations (version, name, time, oldest) VALUES (%d, 'contract', 0, %d) RETURNING version", u.next.schema+1, u.next.schema)
	u.restarts(u.workers[2], syscall.SIGKILL, u.this)
	want := fmt.Sprintf("the database has schema version %d, which takes programs that know at least version %d, and this program knows versions up to %d: "+
		"start a newer program, or restore a backup from before the upgrade", u.next.schema+1, u.next.schema, u.this.schema)
	for range poll(t) {
		if strings.Contains(u.workers[2].tail(), want) {
			break
		}
	}
	u.restart(u.workers[1], syscall.SIGKILL, u.next)
	if status, body := u.at(1).get("/readyz"); status != http.StatusOK {
		t.Errorf("the API that runs is not ready: %s", body)
	}
	u.submit(u.urls[1], "lines")
	u.restart(u.workers[2], syscall.SIGTERM, u.next)

	u.stop()
	paths, handedOver := u.check(t)
	t.Logf("%d requests, of which %d were handed over; they went from %v", len(u.submitted), handedOver, paths)
	for _, accepted := range []programVersion{u.this, u.next} {
		for _, ran := range []programVersion{u.this, u.next} {
			if path := accepted.name + " to " + ran.name; paths[path] == 0 {
				t.Errorf("no request went from %s", path)
			}
		}
	}
	if handedOver == 0 {
		t.Error("no request was handed over")
	}
}
