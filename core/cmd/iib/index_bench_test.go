package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/imagetest"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// measure runs a request warm and reports what it took, as its submitter sees
// it, with the processor time and the peak memory of the engine. body is
// called for each run; the first one is not measured.
func (r *releases) measure(b *testing.B, requestType string, body func(run int) map[string]any) {
	b.Helper()
	r.submit(requestType, body(0))
	before := r.cpuTime()
	b.ResetTimer()
	for run := range b.N {
		r.submit(requestType, body(run+1))
	}
	b.StopTimer()
	b.ReportMetric((r.cpuTime()-before).Seconds()/float64(b.N), "CPU-s/op")
	r.reportMemory(b)
}

// cpuTime is what the server and its plugins have used.
func (r *releases) cpuTime() time.Duration {
	const ticks = 100 // a second, on every Linux
	pids := []string{strconv.Itoa(r.command.Process.Pid)}
	out, _ := exec.Command("pgrep", "-P", pids[0]).Output()
	var total time.Duration
	for _, pid := range append(pids, strings.Fields(string(out))...) {
		stat, _ := os.ReadFile("/proc/" + pid + "/stat")
		// The name in parentheses may hold spaces.
		_, rest, _ := strings.Cut(string(stat), ") ")
		for _, n := range append(strings.Fields(rest), make([]string, 13)...)[11:13] {
			used, _ := strconv.Atoi(n)
			total += time.Duration(used) * time.Second / ticks
		}
	}
	return total
}

func BenchmarkRemove(b *testing.B) {
	r, index := large(b, "")
	r.measure(b, "rm", func(run int) map[string]any {
		return map[string]any{"operators": []string{largeCatalog.Name(run)}, "from_index": index}
	})
}

func BenchmarkCreateEmpty(b *testing.B) {
	r, index := large(b, "")
	r.measure(b, "create-empty-index", func(run int) map[string]any {
		return map[string]any{"from_index": index, "output_fbc": true, "labels": map[string]string{"run": strconv.Itoa(run)}}
	})
}

func BenchmarkFragments(b *testing.B) {
	const fragments = 3
	r, index := large(b, "")
	r.measure(b, "fbc-operations", func(run int) map[string]any {
		var specs []string
		for i := range fragments {
			// A new version of a package that is there.
			pkg := fragments*run + i
			specs = append(specs, r.push(fmt.Sprintf("fragment-%d:v1", pkg), imagetest.Image{Files: map[string][]byte{
				"configs/" + largeCatalog.Name(pkg) + "/catalog.json": largeCatalog.Package(pkg, largeCatalog.Bundles+1),
			}}))
		}
		return map[string]any{"from_index": index, "fbc_fragments": specs}
	})
}

// BenchmarkMerge merges two large indexes whose bundles can all be judged by
// their labels. The target has twenty bundles that the source lacks.
func BenchmarkMerge(b *testing.B) {
	const missing = 20
	r := newReleases(b, startServer(b, ""))
	files := r.judgedCatalog(b)
	image := imagetest.Image{Arches: imagetest.Arches, Files: files, Labels: map[string]string{versionLabel: "v4.14", scopeLabel: "prod", configsLabel: "/configs"}}
	source := r.push("source:v4.14", image)
	var lacking []string
	for i := range missing {
		specs, _ := r.labelled(500+i, 1, everywhere)
		lacking = append(lacking, specs...)
	}
	target := r.push("target:v4.14", image)
	r.submit("add", map[string]any{"bundles": lacking, "from_index": target, "overwrite_from_index": true})
	r.measure(b, "merge-index-image", func(int) map[string]any {
		return map[string]any{"source_from_index": source, "target_index": target}
	})
}

var bundleImage = regexp.MustCompile(`registry\.example\.com/[a-z0-9-]+/bundle@sha256:[0-9a-f]{64}`)

// judgedCatalog is the large catalog with bundle images that are there.
func (r *releases) judgedCatalog(b *testing.B) map[string][]byte {
	b.Helper()
	layers, err := layer.Open(b.TempDir(), layer.Options{})
	if err != nil {
		b.Fatal(err)
	}
	content := map[string][]byte{"metadata/annotations.yaml": []byte("annotations: {}\n")}
	shared, err := layers.Write(b.Context(), filepath.Join(b.TempDir(), "layer"), "bundle", func(yield func(layer.Entry, error) bool) {
		for name, data := range content {
			yield(layer.Entry{Name: name, Mode: 0o644, Content: []layer.Part{layer.Bytes(data)}}, nil)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	files := make(map[string][]byte, largeCatalog.Packages)
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(8)
	for i := range largeCatalog.Packages {
		name := largeCatalog.Name(i)
		data, err := fs.ReadFile(largeCatalog.FS(), name+"/catalog.json")
		if err != nil {
			b.Fatal(err)
		}
		specs := make(map[string]string)
		for n, fake := range bundleImage.FindAllString(string(data), -1) {
			built, err := image.Assemble(image.Assembly{Arch: "amd64", Layers: []sdk.Layer{shared}, Config: sdk.ImageConfig{
				Created: imagetest.Created,
				Labels:  map[string]string{"com.redhat.openshift.versions": "v4.5", "bundle": fmt.Sprintf("%s %d", name, n)},
			}})
			if err != nil {
				b.Fatal(err)
			}
			repository := r.registry() + "/release/bundles"
			specs[fake] = repository + "@" + string(built.Digest)
			group.Go(func() error {
				_, err := r.pusher.Client.Push(ctx, repository, built)
				return err
			})
		}
		files["configs/"+name+"/catalog.json"] = bundleImage.ReplaceAllFunc(data, func(fake []byte) []byte { return []byte(specs[string(fake)]) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return files
}
