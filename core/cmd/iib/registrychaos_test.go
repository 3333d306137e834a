package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/core/coretest/ledger"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

var registryRequests = flag.Int("registry-requests", 16, "the requests of the test with a bad registry")

// A fifth of all that the registry answers is wrong. Requests succeed all the
// same, without being submitted again, and no tag is torn or goes back.
func TestABadRegistry(t *testing.T) {
	t.Parallel()
	seed := *tortureSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat it with -torture-seed %d", seed)
	real := startWith(t, registryConfig, t.TempDir())
	r := newReleases(t, real)
	bad := newBadRegistry(t, r.registry(), 0.2, seed)
	seen := func(spec string) string { return strings.Replace(spec, r.registry(), bad.host(), 1) }

	index := r.emptyIndex("index:v4.14", fileBased, false)
	var bundles []string
	var list []catalogtest.Bundle
	for i := range *registryRequests {
		b := catalogtest.Bundle{
			Package: fmt.Sprintf("operator-%04d", i), Name: fmt.Sprintf("operator-%04d.v1.0.0", i), Version: "1.0.0",
			Channels: []string{"stable"}, DefaultChannel: "stable",
		}
		bundles = append(bundles, seen(r.push(b.Package+":v1", imagetest.Image{Labels: b.Labels(), Files: b.Files()})))
		list = append(list, b)
	}

	config := strings.Replace(shippedWithout(t, "registry {\n"), "  push = ", fmt.Sprintf("registry {\n  address = %[1]q\n  plain_http = [%[1]q]\n  push = ", bad.host()), 1)
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dataDir: t.TempDir(), config: filepath.Join(t.TempDir(), "iib.hcl"), bin: bin}
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the server printed:\n%s", p.stderr)
		}
	})
	var all []*errand
	want := make(map[string][]string)
	for i, bundle := range bundles {
		e := &errand{
			Request: ledger.Request{Key: fmt.Sprint("errand-", i), Type: "add", Want: "complete"},
			body: map[string]any{
				"bundles": []string{bundle}, "from_index": seen(index), "binary_image": seen(r.base), "overwrite_from_index": i%2 == 0,
			},
		}
		if i%2 == 0 {
			maps.Copy(want, names(list[i:i+1]))
		}
		all = append(all, e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(10+*registryRequests/10)*time.Minute)
	defer cancel()
	began := time.Now()
	(&submitters{urls: []string{p.url}, client: http.DefaultClient}).run(ctx, all, 8)
	t.Logf("%d requests in %s; %s", len(all), time.Since(began).Round(time.Second), bad)
	failed, overwrote := 0, 0
	for _, e := range all {
		if e.build["state"] != "complete" {
			failed++
			t.Logf("%s: %s", e.Key, e.Reason)
		} else if e.body["overwrite_from_index"] == true {
			overwrote++
		}
	}
	if failed*1000 > len(all) {
		t.Errorf("%d of %d requests failed", failed, len(all))
	}
	if diff := cmp.Diff(want, r.contents(index)); diff != "" && failed == 0 {
		t.Error(diff)
	}
	// A tag that goes back would have a digest twice.
	history := (&estate{releases: r}).registryHistory("release")[index]
	times, last := make(map[string]int), ""
	for _, digest := range history {
		if digest != last {
			times[digest]++
		}
		last = digest
	}
	if len(times) != overwrote+1 {
		t.Errorf("the index was %d images after %d requests", len(times), overwrote)
	}
	for digest, n := range times {
		if n > 1 {
			t.Errorf("the index went back to %s", digest)
		}
	}
	for _, e := range all {
		if image, _ := e.build["index_image_resolved"].(string); e.build["state"] == "complete" && image != "" {
			r.contents(strings.Replace(image, bad.host(), r.registry(), 1))
		}
	}
}
