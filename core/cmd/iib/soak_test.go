package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/coretest/ledger"
)

var soakTime = flag.Duration("soak", 0, "how long the soak runs, which needs some minutes to tell anything; 0 leaves it out")

// The same work for a long time, on an engine of three processes, takes as much
// memory and as many files at its end as it did when everything was warm.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("make soak runs it")
	}
	e := newEstate(t, 1, 1)
	work, first := newErrands(e.releases, rand.New(rand.NewPCG(1, 1)), 1)
	s := &submitters{urls: e.urls, client: &http.Client{Transport: new(http.Transport)}}
	defer s.client.CloseIdleConnections()
	s.run(t.Context(), first, 1)

	ctx, cancel := context.WithTimeout(t.Context(), *soakTime)
	defer cancel()
	var ended atomic.Int64
	var wg sync.WaitGroup
	for lane, index := range work.indexes {
		wg.Go(func() {
			cycle := soakCycle(e, work, index, lane)
			for round := 0; ctx.Err() == nil; round++ {
				list := cycle(round)
				s.run(t.Context(), list, 1)
				for _, errand := range list {
					if errand.build["state"] != "complete" {
						t.Errorf("%s: %s", errand.Type, errand.Reason)
						cancel()
					}
				}
				ended.Add(int64(len(list)))
			}
		})
	}
	u := usage{seen: make(map[string][]sample)}
	ticker := time.NewTicker(*soakTime / 200)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			u.measure(e)
		}
	}
	wg.Wait()
	t.Logf("%d requests in %s", ended.Load(), *soakTime)
	u.judge(t)
}

// soakCycle is one round of requests on an index, which ends as it began. All
// rounds use the same images, and keys of their own.
func soakCycle(e *estate, work *errands, index *editedIndex, lane int) func(round int) []*errand {
	specs, list := work.operator(2)
	added := work.add(users[lane], index.spec, specs, list)
	removed := work.new(users[lane], "rm", map[string]any{"operators": []string{list[0].Package}, "from_index": index.spec, "overwrite_from_index": true})
	empty := work.new(users[lane], "create-empty-index", map[string]any{"from_index": work.static, "output_fbc": true})
	regenerated := work.new(users[lane], "regenerate-bundle", map[string]any{"from_bundle_image": work.related})
	related := work.new(users[lane], "recursive-related-bundles", map[string]any{"parent_bundle_image": work.related})
	return func(round int) (cycle []*errand) {
		for _, one := range []*errand{added, regenerated, removed, empty, related} {
			again := &errand{user: one.user, body: one.body, Request: ledger.Request{Key: fmt.Sprintf("%s-%d", one.Key, round), Type: one.Type}}
			cycle = append(cycle, again)
		}
		return cycle
	}
}

// sample is what a process uses at a moment.
type sample struct{ resident, files, threads int }

// usage are samples by process: an engine's own, and its plugins by name.
type usage struct{ seen map[string][]sample }

func (u *usage) measure(e *estate) {
	for _, k := range e.programs() {
		k.mu.Lock()
		pid := k.process.PID()
		k.mu.Unlock()
		u.add(k.name, pid)
		for _, pid := range k.plugins() {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			name, _, _ := strings.Cut(string(line), "\x00")
			u.add(k.name+", plugin "+filepath.Base(name), pid)
		}
	}
}

func (u *usage) add(name string, pid int) {
	var s sample
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch n, _ := strconv.Atoi(fields[0]); key {
		case "VmRSS":
			s.resident = n * 1024
		case "Threads":
			s.threads = n
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return
	}
	s.files = len(files)
	u.seen[name] = append(u.seen[name], s)
}

// judge compares the last quarter with the second one: in the first everything
// warms up.
func (u *usage) judge(t *testing.T) {
	t.Helper()
	var names []string
	for name := range u.seen {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		samples := u.seen[name]
		if len(samples) < 40 {
			t.Errorf("%s was seen only %d times: it did not live long", name, len(samples))
			continue
		}
		quarter := len(samples) / 4
		early, late := middle(samples[quarter:2*quarter]), middle(samples[3*quarter:])
		t.Logf("%-40s resident %6.1f, then %6.1f MiB; files %d, %d; threads %d, %d", name,
			float64(early.resident)/(1<<20), float64(late.resident)/(1<<20), early.files, late.files, early.threads, late.threads)
		if late.resident > early.resident*11/10+8<<20 {
			t.Errorf("%s grows: from %d to %d MiB", name, early.resident>>20, late.resident>>20)
		}
		if late.files > early.files+10 || late.threads > early.threads+10 {
			t.Errorf("%s collects files or threads: from %d and %d to %d and %d", name, early.files, early.threads, late.files, late.threads)
		}
	}
}

// middle has the median of each figure.
func middle(samples []sample) (m sample) {
	median := func(of func(sample) int) int {
		var values []int
		for _, s := range samples {
			values = append(values, of(s))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return sample{
		resident: median(func(s sample) int { return s.resident }),
		files:    median(func(s sample) int { return s.files }),
		threads:  median(func(s sample) int { return s.threads }),
	}
}
