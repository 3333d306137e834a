package store_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

func chunkOf(content []byte) store.Chunk {
	return store.Chunk{Content: bytes.NewReader(content), Start: -1, Length: int64(len(content))}
}

func startUpload(t *testing.T, s *store.Store) string {
	t.Helper()
	id, err := s.StartUpload(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestUploads(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	d := digest.FromBytes(content)

	t.Run("go on after a restart, also by another algorithm", func(t *testing.T) {
		for _, d := range []digest.Digest{d, digest.SHA512.FromBytes(content)} {
			dir := t.TempDir()
			s := openStore(t, dir, store.Options{})
			id := startUpload(t, s)
			if size, err := s.Append(t.Context(), repo, id, chunkOf(content[:150_000])); err != nil || size != 150_000 {
				t.Fatal(size, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, dir, store.Options{})
			if size, err := s.UploadSize(t.Context(), repo, id); err != nil || size != 150_000 {
				t.Fatal(size, err)
			}
			blob, _, err := s.Finish(t.Context(), repo, id, chunkOf(content[150_000:]), d)
			if err != nil || blob.Size != int64(len(content)) {
				t.Fatal(blob, err)
			}
			whole(t, s)
			if _, uploads := files(t, dir); uploads > 0 {
				t.Error("the upload's file is left")
			}
		}
	})
	t.Run("keep what came before a connection broke", func(t *testing.T) {
		s := openStore(t, t.TempDir(), store.Options{})
		for _, cut := range []int{10, 100_000} {
			id := startUpload(t, s)
			broken := io.MultiReader(bytes.NewReader(content[:cut]), iotest.ErrReader(io.ErrUnexpectedEOF))
			size, err := s.Append(t.Context(), repo, id, store.Chunk{Content: broken, Start: 0, Length: int64(len(content))})
			if !errors.Is(err, io.ErrUnexpectedEOF) || size != int64(cut) {
				t.Fatalf("cut at %d: size %d, %v", cut, size, err)
			}
			rest := store.Chunk{Content: bytes.NewReader(content[cut:]), Start: int64(cut), Length: -1}
			if _, _, err := s.Finish(t.Context(), repo, id, rest, d); err != nil {
				t.Fatal(err)
			}
		}
		whole(t, s)
	})
	t.Run("that are shorter than they say are not finished", func(t *testing.T) {
		s := openStore(t, t.TempDir(), store.Options{})
		for _, cut := range []int{10, 100_000} {
			id := startUpload(t, s)
			short := store.Chunk{Content: bytes.NewReader(content[:cut]), Start: -1, Length: int64(len(content))}
			if _, _, err := s.Finish(t.Context(), repo, id, short, digest.FromBytes(content[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d: %v", cut, err)
			}
		}
	})
	t.Run("that are longer than they say are cut", func(t *testing.T) {
		s := openStore(t, t.TempDir(), store.Options{})
		id := startUpload(t, s)
		size, err := s.Append(t.Context(), repo, id, store.Chunk{Content: bytes.NewReader(content), Start: 0, Length: 100})
		if err != nil || size != 100 {
			t.Error(size, err)
		}
	})
	t.Run("are bounded", func(t *testing.T) {
		dir := t.TempDir()
		s := openStore(t, dir, store.Options{MaxBlob: 100_000})
		for _, length := range []int64{-1, int64(len(content))} {
			id := startUpload(t, s)
			_, err := s.Append(t.Context(), repo, id, store.Chunk{Content: bytes.NewReader(content), Start: -1, Length: length})
			if !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("length %d: %v", length, err)
			}
			if _, err := s.UploadSize(t.Context(), repo, id); !errors.Is(err, store.ErrUpload) {
				t.Errorf("length %d: the upload is %v", length, err)
			}
		}
		if _, uploads := files(t, dir); uploads > 0 {
			t.Error("files are left")
		}
		if err := putBlob(t, s, repo, content[:100_000]); err != nil {
			t.Error(err)
		}
	})
	t.Run("are one after the other when they come at once", func(t *testing.T) {
		s := openStore(t, t.TempDir(), store.Options{})
		id := startUpload(t, s)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if _, err := s.Append(t.Context(), repo, id, chunkOf(bytes.Repeat([]byte("x"), 20_000))); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		all := strings.Repeat("x", 160_000)
		if _, _, err := s.Finish(t.Context(), repo, id, store.Chunk{}, digest.FromString(all)); err != nil {
			t.Error(err)
		}
	})
	t.Run("of one blob at once are all good", func(t *testing.T) {
		dir := t.TempDir()
		s := openStore(t, dir, store.Options{})
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := putBlob(t, s, repo, content); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		whole(t, s)
		if blobs, uploads := files(t, dir); blobs != 1 || uploads != 0 {
			t.Errorf("%d blobs, %d uploads", blobs, uploads)
		}
	})
	t.Run("by the thousand take no more than they may", func(t *testing.T) {
		s := openStore(t, t.TempDir(), store.Options{})
		first := startUpload(t, s)
		for range 10_000 {
			startUpload(t, s)
		}
		if _, err := s.UploadSize(t.Context(), repo, first); !errors.Is(err, store.ErrUpload) {
			t.Errorf("the first is %v", err)
		}
	})
	t.Run("in memory go to files when there are too many", func(t *testing.T) {
		dir := t.TempDir()
		s := openStore(t, dir, store.Options{})
		small := content[:60_000]
		var ids []string
		for range 1200 {
			id := startUpload(t, s)
			if _, err := s.Append(t.Context(), repo, id, chunkOf(small)); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if _, uploads := files(t, dir); uploads == 0 || uploads > 200 {
			t.Errorf("%d uploads have a file", uploads)
		}
		for _, id := range []string{ids[0], ids[1199]} {
			if _, _, err := s.Finish(t.Context(), repo, id, store.Chunk{}, digest.FromBytes(small)); err != nil {
				t.Error(err)
			}
		}
		for _, id := range ids[1:1199] {
			if err := s.CancelUpload(t.Context(), repo, id); err != nil {
				t.Fatal(err)
			}
		}
		if _, uploads := files(t, dir); uploads != 0 {
			t.Errorf("%d files are left", uploads)
		}
		whole(t, s)
	})
}
