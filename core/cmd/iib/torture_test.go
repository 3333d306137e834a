package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest/ledger"
	"github.com/iib-engine/iib/core/store"
)

var (
	tortureRequests = flag.Int("torture-requests", 80, "the requests of the torture test")
	tortureTime     = flag.Duration("torture-time", 35*time.Second, "how long the torture test kills at most")
	tortureEvery    = flag.Duration("torture-every", 1150*time.Millisecond, "the time between two faults of the torture test, on average")
	// What a run does depends on its seed and on what the machine does meanwhile.
	tortureSeed   = flag.Uint64("torture-seed", 1, "what the torture test does; 0 chooses one")
	tortureClocks = flag.Bool("torture-clocks", false, "build programs whose clocks jump in the torture test, which takes some minutes")
)

// Requests of all kinds, by several users, run on three workers behind two APIs
// while all of it, and what it stands on, is killed and stopped. Then the ledger
// must be clean.
func TestTorture(t *testing.T) {
	t.Parallel()
	seed := *tortureSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat it with -torture-seed %d", seed)
	e := newEstate(t, 2, 3)
	work, first := newErrands(e.releases, rand.New(rand.NewPCG(seed, 1)), *tortureRequests)
	all := slices.Clone(first)
	for range *tortureRequests {
		all = append(all, work.next())
	}
	before := e.tagsBefore(work)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended atomic.Int64
	s := &submitters{urls: e.urls, client: &http.Client{Transport: new(http.Transport)}, ended: func() { ended.Add(1) }}
	defer s.client.CloseIdleConnections()
	s.run(ctx, first, len(first))
	for _, f := range first {
		if f.build["state"] != "complete" {
			t.Fatalf("before anything was harmed: %s", f.Reason)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx, all[len(first):], 6)
	}()
	c := &chaos{estate: e, random: rand.New(rand.NewPCG(seed, 2)), every: *tortureEvery}
	c.run(done, *tortureTime)
	t.Logf("%d faults in %s; %d of %d requests have ended", c.count, time.Since(c.began).Round(time.Second), ended.Load(), len(all))
	e.settle(done, &ended)
	cancel()
	<-done

	e.awaitNotices(all)
	for _, left := range e.leftovers() {
		t.Errorf("left: %s", left)
	}
	// The registry is read once more, by itself.
	e.reopenRegistry()
	book := e.book(all, work, before)
	t.Logf("the ledger:\n%s", book)
	publishLedger(t, fmt.Sprintf("torture with seed %d, %d faults:\n%s", seed, c.count, book))
	if found := book.Findings(); len(found) > 0 {
		t.Errorf("%d entries do not add up", len(found))
	}
	e.checkResults(all)
}

// publishLedger shows a ledger also where the test does not fail.
func publishLedger(t *testing.T, text string) {
	t.Helper()
	path := os.Getenv("IIB_CONFORMANCE")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// settle waits until all errands have ended, as long as some do.
func (e *estate) settle(done <-chan struct{}, ended *atomic.Int64) {
	last, since := ended.Load(), time.Now()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for time.Since(since) < patience {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		if n := ended.Load(); n != last {
			last, since = n, time.Now()
		}
	}
	e.t.Errorf("no request has ended for %s", patience)
}

// awaitNotices waits until the notifier was told of every end.
func (e *estate) awaitNotices(all []*errand) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); ; <-ticker.C {
		told := make(map[int64]bool)
		for _, p := range e.receiver.got() {
			if p.Kind == "request" && p.State != string(core.InProgress) {
				told[p.Request] = true
			}
		}
		missing := 0
		for _, a := range all {
			for _, id := range a.IDs {
				if !told[id] {
					missing++
				}
			}
		}
		if missing == 0 || time.Now().After(deadline) {
			return
		}
	}
}

// tagsBefore are the indexes that are overwritten, as they are before anything.
func (e *estate) tagsBefore(work *errands) map[string]ledger.Tag {
	before := make(map[string]ledger.Tag)
	for _, spec := range append([]string{work.source}, specs(work.indexes)...) {
		before[spec] = ledger.Tag{Spec: spec, Before: e.contents(spec)}
	}
	return before
}

func specs(indexes []*editedIndex) (list []string) {
	for _, x := range indexes {
		list = append(list, x.spec)
	}
	return list
}

// book collects what everybody says.
func (e *estate) book(all []*errand, work *errands, before map[string]ledger.Tag) *ledger.Book {
	e.t.Helper()
	ctx := e.t.Context()
	s, err := store.Open(ctx, e.database, store.Options{})
	if err != nil {
		e.t.Fatal(err)
	}
	defer s.Close()
	events := make(map[int64][]string)
	for after := int64(0); ; {
		page, err := s.EventsAfter(ctx, after, 500)
		if err != nil {
			e.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, event := range page {
			after = event.Sequence
			if event.Kind == core.RequestEvent {
				events[event.Request] = append(events[event.Request], string(event.State))
			}
		}
	}
	notices := make(map[int64]map[string]string)
	for _, p := range e.receiver.got() {
		if p.Kind != "request" {
			continue
		}
		if notices[p.Request] == nil {
			notices[p.Request] = make(map[string]string)
		}
		notices[p.Request][p.ID] = p.State
	}
	b := new(ledger.Book)
	list, total, err := s.List(ctx, core.Filter{}, core.Page{Number: 1, Size: 1 << 20})
	if err != nil || int(total) != len(list) {
		e.t.Fatalf("%d of %d requests: %v", len(list), total, err)
	}
	for _, r := range list {
		b.Stored = append(b.Stored, r.ID)
	}
	for _, a := range all {
		r := a.Request
		for _, id := range a.IDs {
			stored, err := s.Request(ctx, id)
			if err != nil {
				e.t.Fatal(err)
			}
			for _, entry := range slices.Backward(stored.History) {
				r.States = append(r.States, string(entry.State))
			}
			r.Reason = stored.State().Reason
			r.Events = append(r.Events, events[id]...)
			r.Notices = notices[id]
		}
		b.Requests = append(b.Requests, r)
	}
	history := e.registryHistory("release")
	for spec, tag := range before {
		tag.Digests = history[spec]
		tag.After = e.contents(spec)
		tag.Moves = moves(e.t, s, spec)
		tag.Between = e.between(spec, tag.Moves)
		b.Tags = append(b.Tags, tag)
	}
	for spec, digests := range e.registryHistory("iib-build") {
		_, tag, _ := strings.Cut(spec, "iib-build:")
		owner, err := strconv.ParseInt(tag, 10, 64)
		if err != nil {
			e.t.Errorf("nobody asked for the tag %s", spec)
			continue
		}
		b.Tags = append(b.Tags, ledger.Tag{Spec: spec, Owner: owner, Digests: digests, Moves: moves(e.t, s, spec)})
	}
	slices.SortFunc(b.Tags, func(x, y ledger.Tag) int { return strings.Compare(x.Spec, y.Spec) })
	if open := e.postgres.Query(e.database, `SELECT count(*) FROM tag_moves WHERE state <> 'made'`); open[0] != "0" {
		e.t.Errorf("%s moves of tags are open or unsure after the end", open[0])
	}
	if open := e.postgres.Query(e.database, `SELECT count(*) FROM secrets`); open[0] != "0" {
		e.t.Errorf("%s requests have ended and still have secrets", open[0])
	}
	return b
}

// between reads what an index was after each of the last moves.
func (e *estate) between(spec string, moves []ledger.Move) map[string]map[string][]string {
	const most = 100 // which is some seconds
	found := make(map[string]map[string][]string)
	for _, m := range moves[max(0, len(moves)-most):] {
		found[m.To] = e.contents(repository(spec) + "@" + m.To)
	}
	return found
}

func repository(spec string) string { return spec[:strings.LastIndexByte(spec, ':')] }

func moves(t testing.TB, s *store.Store, spec string) (list []ledger.Move) {
	t.Helper()
	all, err := s.TagMoves(t.Context(), spec, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Backward(all) {
		list = append(list, ledger.Move{Request: m.Request, From: m.From, To: m.To})
	}
	return list
}

// registryHistory is what the registry says that the tags of its repositories
// were that begin with a name, oldest first.
func (e *estate) registryHistory(name string) map[string][]string {
	e.t.Helper()
	history := make(map[string][]string)
	for _, repository := range e.repositories() {
		if repository != name && !strings.HasPrefix(repository, name+"/") {
			continue
		}
		for page := 1; ; page++ {
			status, data := e.get(fmt.Sprintf("/api/v1/repository/%s/tag/?limit=100&page=%d", repository, page))
			var answer struct {
				Tags []struct {
					Name   string
					Digest string `json:"manifest_digest"`
				}
				More bool `json:"has_additional"`
			}
			if err := json.Unmarshal(data, &answer); err != nil || status != http.StatusOK {
				e.t.Fatalf("the history of %s: %d %s", repository, status, data)
			}
			for _, tag := range answer.Tags {
				spec := e.registry() + "/" + repository + ":" + tag.Name
				history[spec] = append(history[spec], tag.Digest)
			}
			if !answer.More {
				break
			}
		}
	}
	for spec := range history {
		slices.Reverse(history[spec])
	}
	return history
}

func (e *estate) repositories() []string {
	e.t.Helper()
	status, data := e.get("/v2/_catalog?n=" + url.QueryEscape("10000"))
	var answer struct{ Repositories []string }
	if err := json.Unmarshal(data, &answer); err != nil || status != http.StatusOK {
		e.t.Fatalf("the repositories: %d %s", status, data)
	}
	return answer.Repositories
}

// checkResults reads back what was built and overwrites nothing.
func (e *estate) checkResults(all []*errand) {
	e.t.Helper()
	const most = 200 // so many tell as much as all
	checked := 0
	for _, a := range all {
		if a.build["state"] != "complete" || checked == most {
			continue
		}
		if a.shows != nil {
			checked++
			image, _ := a.build["index_image"].(string)
			if diff := cmp.Diff(a.shows, e.contents(image)); diff != "" {
				e.t.Errorf("%s built %s (-want +got):\n%s", &a.Request, image, diff)
			}
		}
		if a.Type == "regenerate-bundle" {
			image, _ := a.build["bundle_image"].(string)
			e.inspect(image, "arm64")
		}
	}
	e.t.Logf("%d indexes that overwrite none were read back", checked)
}
