package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/store"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// fill leaves so many bytes of a disk free, and returns how to free the rest.
func fill(t *testing.T, dir string, left uint64) (empty func()) {
	t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	free := disk.Bavail * uint64(disk.Bsize)
	path := filepath.Join(dir, "ballast")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if free > left {
		file, err := os.OpenFile(path, os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := unix.Fallocate(int(file.Fd()), 0, 0, int64(free-left)); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// A disk gets full, with more and more room for what a request writes before it
// cannot go on. What was accepted ends, with the space back or with a reason; the
// database and the index are whole.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	dir := real.Disk(t, 128<<20)
	p := startWith(t, shippedWithout(t, "#   check it:    bin/iib validate iib.hcl\n"), dir)
	r := newReleases(t, p)
	index := r.emptyIndex("index:v4.14", fileBased, false)
	want := make(map[string][]string)
	operator := 0
	next := func() (body map[string]any, adds map[string][]string) {
		specs, list := r.bundles(operator, 1)
		operator++
		return map[string]any{"bundles": specs, "from_index": index, "binary_image": r.base, "overwrite_from_index": true}, names(list)
	}
	for _, left := range []uint64{0, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20} {
		body, adds := next()
		logged := len(p.stderr.String())
		empty := fill(t, dir, left)
		status, answer := r.post("/api/v1/builds/add", body)
		switch status {
		case http.StatusCreated:
			// It meets the full disk: it has ended, or its state or the log tells
			// why it has not. Where the database is full its state cannot tell.
			id := answer["id"]
			for range poll(t) {
				_, data := r.get(fmt.Sprintf("/api/v1/builds/%v", id))
				told := string(data) + p.stderr.String()[logged:]
				if !strings.Contains(string(data), `"state":"in_progress"`) || strings.Contains(told, "no space left") || strings.Contains(told, "disk is full") {
					break
				}
			}
			empty()
			build := r.wait(id)
			reason := fmt.Sprint(build["state_reason"])
			t.Logf("with %d KiB left: %v: %.200s", left>>10, build["state"], reason)
			if build["state"] == "complete" {
				maps.Copy(want, adds)
			} else if !strings.Contains(reason, "space") && !strings.Contains(reason, "full") {
				t.Errorf("with %d KiB left the reason is %q", left>>10, reason)
			}
		case http.StatusServiceUnavailable:
			t.Logf("with %d KiB left: not accepted: %v", left>>10, answer["error"])
			empty()
		default:
			t.Errorf("with %d KiB left: %d %v", left>>10, status, answer)
			empty()
		}
		if diff := cmp.Diff(want, r.contents(index)); diff != "" {
			t.Fatalf("with %d KiB left (-want +got):\n%s", left>>10, diff)
		}
	}
	// The space is back.
	body, adds := next()
	maps.Copy(want, adds)
	r.submit("add", body)
	if diff := cmp.Diff(want, r.contents(index)); diff != "" {
		t.Error(diff)
	}
	p.stop()
	s, err := store.Open(t.Context(), "sqlite://"+filepath.Join(dir, "iib.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, total, err := s.List(t.Context(), core.Filter{}, core.Page{Number: 1, Size: 1000, History: true})
	if err != nil || int(total) != len(list) || len(list) == 0 {
		t.Errorf("the database has %d of %d requests: %v", len(list), total, err)
	}
	for _, request := range list {
		if !request.Final() {
			t.Errorf("request %d is %s", request.ID, request.State().State)
		}
	}
}
