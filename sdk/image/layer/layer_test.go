package layer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

func open(t testing.TB, dir string) *layer.Store {
	t.Helper()
	s, err := layer.Open(dir, layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// list yields entries, and err at their end unless it is nil.
func list(err error, entries ...layer.Entry) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(layer.Entry{}, err)
		}
	}
}

func file(name string, mode fs.FileMode, parts ...[]byte) layer.Entry {
	e := layer.Entry{Name: name, Mode: mode, UID: 1001}
	for _, p := range parts {
		e.Content = append(e.Content, layer.Bytes(p))
	}
	return e
}

// noise is content that does not compress, of any length.
func noise(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func write(t testing.TB, s *layer.Store, entries ...layer.Entry) sdk.Layer {
	t.Helper()
	l, err := s.Write(t.Context(), filepath.Join(t.TempDir(), "layer.tar.gz"), "test", list(nil, entries...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type found struct {
	Name     string
	Mode     int64
	UID      int
	Sum      string
	IsDir    bool
	ModeTime int64
}

// read reads a layer with the standard library's readers and checks what
// sdk.Layer says of it.
func read(t testing.TB, l sdk.Layer) []found {
	t.Helper()
	f, err := os.Open(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digest := sha256.New()
	gz, err := gzip.NewReader(io.TeeReader(f, digest))
	if err != nil {
		t.Fatal(err)
	}
	diffID := sha256.New()
	plain := io.TeeReader(gz, diffID)
	var entries []found
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, found{h.Name, h.Mode, h.Uid, fmt.Sprintf("%x", sum.Sum(nil)), h.Typeflag == tar.TypeDir, h.ModTime.Unix()})
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(digest, f); err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	got := sdk.Layer{
		Path: l.Path, CreatedBy: l.CreatedBy, Size: info.Size(),
		Digest: fmt.Sprintf("sha256:%x", digest.Sum(nil)), DiffID: fmt.Sprintf("sha256:%x", diffID.Sum(nil)),
	}
	if d := cmp.Diff(got, l); d != "" {
		t.Errorf("the layer does not describe its file (-file +layer):\n%s", d)
	}
	return entries
}

func sum(data ...[]byte) string { return fmt.Sprintf("%x", sha256.Sum256(bytes.Join(data, nil))) }

func TestWrite(t *testing.T) {
	s := open(t, t.TempDir())
	big, small := noise(1, 3<<20+17), []byte("small")
	long := "configs/" + string(bytes.Repeat([]byte("x/"), 120)) + "file"
	entries := []layer.Entry{
		layer.Directory("configs", 0o755),
		layer.Opaque("configs"),
		file("configs/big", 0o660, big[:1000], big[1000:2<<20], big[2<<20:]),
		file("configs/empty", 0o644),
		file("configs/small", 0o600, small),
		file(long, 0o644, small),
		layer.Whiteout("configs/gone"),
	}
	want := []found{
		{"configs/", 0o755, 0, sum(), true, 0},
		{"configs/.wh..wh..opq", 0o644, 0, sum(), false, 0},
		{"configs/big", 0o660, 1001, sum(big), false, 0},
		{"configs/empty", 0o644, 1001, sum(), false, 0},
		{"configs/small", 0o600, 1001, sum(small), false, 0},
		{long, 0o644, 1001, sum(small), false, 0},
		{"configs/.wh.gone", 0o644, 0, sum(), false, 0},
	}
	first := write(t, s, entries...)
	if d := cmp.Diff(want, read(t, first)); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}

	t.Run("a warm store gives the same bytes", func(t *testing.T) {
		again := write(t, s, entries...)
		if again.Digest != first.Digest || again.DiffID != first.DiffID {
			t.Errorf("got %+v, want %+v", again, first)
		}
	})
	t.Run("an empty store gives the same bytes", func(t *testing.T) {
		again := write(t, open(t, t.TempDir()), entries...)
		if again.Digest != first.Digest {
			t.Errorf("got %+v, want %+v", again, first)
		}
	})
	t.Run("one worker gives the same bytes", func(t *testing.T) {
		s, err := layer.Open(t.TempDir(), layer.Options{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if again := write(t, s, entries...); again.Digest != first.Digest {
			t.Errorf("got %+v, want %+v", again, first)
		}
	})
	t.Run("tar and gzip of the system read it", func(t *testing.T) {
		real.Need(t, "tar")
		dir := t.TempDir()
		out, err := exec.Command("tar", "--extract", "--gzip", "--no-same-owner", "--file", first.Path, "--directory", dir).CombinedOutput()
		if err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		got, err := os.ReadFile(filepath.Join(dir, "configs/big"))
		if err != nil || !bytes.Equal(got, big) {
			t.Errorf("configs/big differs after tar, error %v", err)
		}
	})
}

// The digest of a fixed layer. When it changes, the compressor's output has
// changed: rename compressor in member.go, so that old members are not mixed
// with new ones, and expect the digest of every index to move once.
func TestCompressorIsPinned(t *testing.T) {
	text := bytes.Repeat([]byte("operators come and go, their bytes remain. "), 40000)
	got := write(t, open(t, t.TempDir()), file("text", 0o644, text), file("noise", 0o644, noise(7, 100000)))
	const want = "sha256:622d262fd429f682dc539da26168fdf0ccd9d14225f935b72c0061271690a08b"
	if got.Digest != want {
		t.Errorf("digest = %s, want %s", got.Digest, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	content := noise(2, 100<<10)
	wrong := layer.Bytes(content)
	wrong.Digest = cas.Sum([]byte("other")).String()
	wrongSmall := layer.Bytes([]byte("small"))
	wrongSmall.Digest = wrong.Digest
	long := layer.Bytes(noise(3, 2<<20))
	long.Digest = wrong.Digest
	shorter := layer.Part{Size: 10, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(nil)), nil }}
	longer := layer.Part{Size: 10, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
	broken := layer.Part{Size: 10, Open: func() (io.ReadCloser, error) { return nil, fs.ErrPermission }}
	ended := errors.New("no more")

	for name, tc := range map[string]struct {
		entries iter.Seq2[layer.Entry, error]
		code    sdk.Code
	}{
		"a path that climbs":             {list(nil, file("../x", 0o644)), sdk.Internal},
		"an absolute path":               {list(nil, file("/x", 0o644)), sdk.Internal},
		"a symbolic link":                {list(nil, layer.Entry{Name: "x", Mode: fs.ModeSymlink}), sdk.Internal},
		"a name given twice":             {list(nil, file("x", 0o644), file("x", 0o644)), sdk.Internal},
		"content that is not its digest": {list(nil, layer.Entry{Name: "x", Content: []layer.Part{wrong}}), sdk.Unavailable},
		"small content likewise":         {list(nil, layer.Entry{Name: "x", Content: []layer.Part{wrongSmall}}), sdk.Unavailable},
		"long content likewise":          {list(nil, layer.Entry{Name: "x", Content: []layer.Part{long}}), sdk.Unavailable},
		"content that ends early":        {list(nil, layer.Entry{Name: "x", Content: []layer.Part{shorter}}), sdk.Internal},
		"content that goes on":           {list(nil, layer.Entry{Name: "x", Content: []layer.Part{longer}}), sdk.Internal},
		"content that cannot be opened":  {list(nil, layer.Entry{Name: "x", Content: []layer.Part{broken}}), sdk.Internal},
		"entries that end with an error": {list(ended, file("x", 0o644)), sdk.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := open(t, t.TempDir()).Write(t.Context(), filepath.Join(dir, "layer"), "", tc.entries)
			if err == nil {
				t.Fatal("no error")
			}
			if code := sdk.CodeOf(err); code != tc.code {
				t.Errorf("code %s, want %s: %v", code, tc.code, err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWriteStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	endless := func(yield func(layer.Entry, error) bool) {
		for i := 0; yield(file(fmt.Sprint(i), 0o644, noise(uint64(i), 64<<10)), nil); i++ {
			if i == 50 {
				cancel()
			}
		}
	}
	_, err := open(t, t.TempDir()).Write(ctx, filepath.Join(t.TempDir(), "layer"), "", endless)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestStoreSurvivesDamage(t *testing.T) {
	entries := []layer.Entry{file("a", 0o644, noise(1, 200<<10)), file("b", 0o644, noise(2, 3<<20))}
	for name, harm := range map[string]func(path string) error{
		"members deleted":   os.Remove,
		"members emptied":   func(path string) error { return os.Truncate(path, 0) },
		"members truncated": func(path string) error { return os.Truncate(path, 100) },
		"members altered": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			want := write(t, s, entries...)
			n := 0
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				n++
				return harm(path)
			})
			if err != nil || n == 0 {
				t.Fatalf("harmed %d members, error %v", n, err)
			}
			if got := write(t, s, entries...); got.Digest != want.Digest {
				t.Errorf("digest %s, want %s", got.Digest, want.Digest)
			}
		})
	}
	t.Run("store deleted", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		want := write(t, s, entries...)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if got := write(t, s, entries...); got.Digest != want.Digest {
			t.Errorf("digest %s, want %s", got.Digest, want.Digest)
		}
	})
}

// Several stores on one directory stand for several processes.
func TestStoresShareADirectory(t *testing.T) {
	dir := t.TempDir()
	var entries []layer.Entry
	for i := range 20 {
		entries = append(entries, file(fmt.Sprintf("f%02d", i), 0o644, noise(uint64(i%5), 50<<10)))
	}
	want := write(t, open(t, t.TempDir()), entries...)
	var wg sync.WaitGroup
	for range 4 {
		s := open(t, dir)
		for range 4 {
			wg.Go(func() {
				if got := write(t, s, entries...); got.Digest != want.Digest {
					t.Errorf("digest %s, want %s", got.Digest, want.Digest)
				}
			})
		}
	}
	wg.Wait()
}
