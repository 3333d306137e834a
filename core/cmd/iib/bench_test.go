package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// largeCatalog is the fixture of every figure here: about 100 MB of JSON.
var largeCatalog = catalogtest.Large

// noCache turns the serve cache off in the shipped configuration.
const noCache = `
plugin "index-add" {
  kind = "handler"
  config { serve_cache = "none" }
}
`

// large is a server with the large index in its registry.
func large(b *testing.B, extra string) (*releases, string) {
	b.Helper()
	config := shippedWithout(b, "plugin \"index-add\" {\n  kind = \"handler\"\n}\n")
	if extra == "" {
		extra = "plugin \"index-add\" {\n  kind = \"handler\"\n}\n"
	}
	r := newReleases(b, startWith(b, config+extra, b.TempDir()))
	files := make(map[string][]byte)
	catalog := largeCatalog.FS()
	err := fs.WalkDir(catalog, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(catalog, name)
		files["configs/"+name] = data
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return r, r.push("large:v4.14", imagetest.Image{Arches: imagetest.Arches, Files: files,
		Labels: map[string]string{versionLabel: "v4.14", scopeLabel: "prod", configsLabel: "/configs"}})
}

// addOne adds one new bundle and returns how long that took, as its submitter
// sees it.
func (r *releases) addOne(b *testing.B, index, bundle string) time.Duration {
	b.Helper()
	began := time.Now()
	build := r.submit("add", map[string]any{"bundles": []string{bundle}, "from_index": index})
	took := time.Since(began)
	b.ReportMetric(float64(r.ownBytes(build["index_image"].(string)))/1e6, "MB-pushed")
	return took
}

// ownBytes is the size of the layers that the engine made.
func (r *releases) ownBytes(spec string) int64 {
	info, err := r.pusher.Client.Inspect(context.Background(), spec, "amd64")
	if err != nil {
		r.t.Fatal(err)
	}
	var n int64
	for _, l := range info.Layers[1:] {
		n += l.Size
	}
	return n
}

// reportMemory tells the peak resident memory of the server and its largest plugin.
func (r *releases) reportMemory(b *testing.B) {
	pids := []int{r.command.Process.Pid}
	out, _ := exec.Command("pgrep", "-P", strconv.Itoa(pids[0])).Output()
	for _, field := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	var peaks []float64
	for _, pid := range pids {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kB, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				peaks = append(peaks, kB/1024)
			}
		}
	}
	b.ReportMetric(slices.Max(peaks), "MiB-peak")
}

func BenchmarkAdd(b *testing.B) {
	for _, c := range []struct{ name, extra string }{{"without cache", noCache}, {"with cache", ""}} {
		b.Run("warm, "+c.name, func(b *testing.B) {
			r, index := large(b, c.extra)
			var specs []string
			for i := range b.N + 1 {
				one, _ := r.bundles(500+i, 1)
				specs = append(specs, one...)
			}
			r.addOne(b, index, specs[0])
			b.ResetTimer()
			for i := range b.N {
				r.addOne(b, index, specs[i+1])
			}
			r.reportMemory(b)
		})
		b.Run("cold, "+c.name, func(b *testing.B) {
			r, index := large(b, c.extra)
			specs, _ := r.bundles(500, 1)
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				r.restartCold()
				b.StartTimer()
				r.addOne(b, index, specs[0])
			}
			r.reportMemory(b)
		})
	}
}

// restartCold starts the server anew without anything that it kept.
func (r *releases) restartCold() {
	r.t.Helper()
	r.stop()
	if err := os.RemoveAll(filepath.Join(r.dataDir, "cache")); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

// BenchmarkOverhead is what the engine itself takes for a request: an empty
// handler, from the POST to the state complete.
func BenchmarkOverhead(b *testing.B) {
	plugin := buildExample(b, "echo-handler")
	p := startServer(b, fmt.Sprintf("plugin \"echo-handler\" {\n  kind = \"handler\"\n  path = %q\n}\n", plugin))
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		status, answer := p.post("/api/v1/builds/echo", `{"text":"hello"}`)
		if status != http.StatusCreated {
			b.Fatalf("%d %v", status, answer)
		}
		if done := p.wait(answer["id"]); done["state"] != "complete" {
			b.Fatalf("%v", done["state_reason"])
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkFloor is the least that publishing the large catalog can take: its
// bytes read, hashed, compressed and pushed, nothing kept from before.
func BenchmarkFloor(b *testing.B) {
	r := newReleases(b, startServer(b, ""))
	catalog := largeCatalog.FS()
	files := make(map[string][]byte)
	for i := range largeCatalog.Packages {
		name := largeCatalog.Name(i) + "/catalog.json"
		data, err := fs.ReadFile(catalog, name)
		if err != nil {
			b.Fatal(err)
		}
		files["configs/"+name] = data
	}
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		pusher, err := imagetest.New(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		spec := fmt.Sprintf("%s/floor/catalog-%d:latest", r.registry(), i)
		if _, err := pusher.Push(context.Background(), spec, imagetest.Image{Files: files, Single: true}); err != nil {
			b.Fatal(err)
		}
	}
}
