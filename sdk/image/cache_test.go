package image

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
)

func filesIn(t testing.TB, dir string) (paths []string, size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			paths, size = append(paths, path), size+info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths, size
}

func TestAWarmCacheReadsNothingTwice(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	list, _ := fourArches(t)
	spec := r.put(t, "a/b:v1", list)
	pinned := r.host + "/a/b@" + string(digestOfImage(t, list))
	read := func(c *Client) {
		t.Helper()
		if err := c.ExtractDirs(ctx, pinned, "s390x", t.TempDir(), "configs"); err != nil {
			t.Fatal(err)
		}
	}
	read(c)
	r.forget()
	read(c)
	if got := r.requests(); len(got) != 0 {
		t.Errorf("the same process asked for %v", got)
	}
	if _, err := c.Resolve(ctx, spec); err != nil {
		t.Fatal(err)
	}
	if got := r.requests(); len(got) != 1 {
		t.Errorf("a tag, which may have moved, took %v", got)
	}
	r.forget()
	read(newTestClient(t, func(o *Options) { o.CacheDir = c.cache.dir }))
	if got := r.requests("GET", "/a/b/"); len(got) != 0 {
		t.Errorf("another process read %v", got)
	}
	// Anyone may empty the cache at any time.
	if err := os.RemoveAll(c.cache.dir); err != nil {
		t.Fatal(err)
	}
	read(c)
}

func TestWithoutACacheNothingStays(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	r, c, ctx := newTestRegistry(t), newTestClient(t, func(o *Options) { o.CacheDir = "" }), background(t)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, file("a", noise(10_000)))))
	if _, err := c.ReadFile(ctx, spec, "", "a", 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadFile(ctx, spec, "", "none", 1<<20); sdk.CodeOf(err) != sdk.NotFound {
		t.Fatal(err)
	}
	if left, _ := filesIn(t, temp); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestDamagedCacheFilesAreReadAgain(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"a short file":  func(b []byte) []byte { return b[:len(b)/2] },
		"an empty file": func([]byte) []byte { return nil },
		"a longer file": func(b []byte) []byte { return append(b, "more"...) },
	} {
		t.Run(name, func(t *testing.T) {
			r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
			list, _ := fourArches(t)
			spec := r.put(t, "a/b@"+string(digestOfImage(t, list)), list)
			read := func() {
				t.Helper()
				dst := t.TempDir()
				if err := c.ExtractDirs(ctx, spec, "arm64", dst, "configs"); err != nil {
					t.Fatal(err)
				}
				if got := tree(t, dst)["configs/a.json"]; got != noise(50_000) {
					t.Errorf("read %d bytes of something else", len(got))
				}
			}
			read()
			paths, _ := filesIn(t, c.cache.dir)
			for _, path := range paths {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c = newTestClient(t, func(o *Options) { o.CacheDir = c.cache.dir })
			read()
			read()
		})
	}
}

func TestTheCacheKeepsToItsSize(t *testing.T) {
	const limit = 100_000
	dir := t.TempDir()
	c := newCache(dir, limit)
	old := time.Now().Add(-time.Hour)
	var digests []sdk.Digest
	for i := range 60 {
		data := []byte(fmt.Sprint(i) + noise(5000))
		d := sum(data)
		digests = append(digests, d)
		c.write(d, data)
		// As if it had been written an hour ago, one after the other.
		when := old.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(c.path(blobs, d), when, when); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			// The first one is used again and again.
			if _, ok := c.read(digests[0], limit); !ok {
				t.Fatalf("after %d writes the blob in use is gone", i)
			}
		}
		if _, size := filesIn(t, dir); size > limit {
			t.Fatalf("after %d writes the cache has %d bytes", i, size)
		}
	}
	if _, ok := c.read(digests[1], limit); ok {
		t.Error("the least recently used blob is still there")
	}
	if _, ok := c.read(digests[59], limit); !ok {
		t.Error("the newest blob is gone")
	}
	huge := []byte(noise(limit))
	c.write(sum(huge), huge)
	if _, ok := c.read(digests[59], limit); !ok {
		t.Error("a blob as large as the cache has driven out the others")
	}
}

func TestAbandonedPartsAreRemoved(t *testing.T) {
	c := newCache(t.TempDir(), 1<<20)
	part, err := c.create()
	if err != nil {
		t.Fatal(err)
	}
	part.Close()
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(part.Name(), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	fresh, err := c.create()
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	c.write(sum([]byte("x")), []byte("x"))
	if _, err := os.Stat(part.Name()); err == nil {
		t.Error("a part of the day before is still there")
	}
	if _, err := os.Stat(fresh.Name()); err != nil {
		t.Error("a part that is being written was removed")
	}
}

func TestManyReadersOfOneColdBlob(t *testing.T) {
	r, c, ctx := newTestRegistry(t), newTestClient(t), background(t)
	body := noise(500_000)
	spec := r.put(t, "a/b:v1", imageOf(t, "amd64", nil, layerOf(t, file("a", body))))
	info, err := c.Inspect(ctx, spec, "")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			rc, err := c.OpenBlob(ctx, spec, info.Layers[0].Digest, info.Layers[0].Size)
			if err != nil {
				t.Error(err)
				return
			}
			defer rc.Close()
			if i%5 == 0 {
				return // loses interest
			}
			if got, err := hashAll(rc); err != nil || got != info.Layers[0].Digest {
				t.Errorf("read %s, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := len(r.requests("GET", string(info.Layers[0].Digest))); n > 6 {
		t.Errorf("the blob was asked for %d times", n)
	}
	if left, _ := filesIn(t, filepath.Join(c.cache.dir, string(partial))); len(left) != 0 {
		t.Errorf("left behind %s", strings.Join(left, " "))
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[string, int](10)
	l.put("a", 1, 4)
	l.put("b", 2, 4)
	l.get("a")
	l.put("c", 3, 4)
	if _, ok := l.get("b"); ok {
		t.Error("the least recently used is still there")
	}
	if v, ok := l.get("a"); !ok || v != 1 {
		t.Error("the one in use is gone")
	}
	l.put("a", 5, 4)
	if v, _ := l.get("a"); v != 5 {
		t.Errorf("a is %d after it was replaced", v)
	}
	l.put("heavy", 6, 100)
	if _, ok := l.get("heavy"); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := l.get("a"); ok {
		t.Error("more than the limit stayed")
	}
}
