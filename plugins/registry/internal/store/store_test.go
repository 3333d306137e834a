package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// clock is one that stands still until it is told to move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

func openStore(t testing.TB, dir string, options store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

const (
	typeImage  = "application/vnd.oci.image.manifest.v1+json"
	typeIndex  = "application/vnd.oci.image.index.v1+json"
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// object is a JSON object in the making.
type object map[string]any

func encode(t testing.TB, v any) []byte {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func describe(mediaType string, content []byte) object {
	return object{"mediaType": mediaType, "digest": digest.FromBytes(content), "size": len(content)}
}

// image is one made up from a seed.
type image struct {
	blobs    [][]byte
	manifest []byte
}

func (i image) digest() digest.Digest { return digest.FromBytes(i.manifest) }

// newImage makes an image; change may alter its manifest.
func newImage(t testing.TB, seed string, change func(object)) image {
	t.Helper()
	return newLabelledImage(t, seed, nil, change)
}

func newLabelledImage(t testing.TB, seed string, labels map[string]string, change func(object)) image {
	t.Helper()
	all := map[string]string{"seed": seed}
	maps.Copy(all, labels)
	config := encode(t, object{"architecture": "amd64", "config": object{"Labels": all}})
	layer := []byte("layer of " + seed)
	manifest := object{
		"schemaVersion": 2, "mediaType": typeImage,
		"config": describe(typeConfig, config), "layers": []object{describe(typeLayer, layer)},
	}
	if change != nil {
		change(manifest)
	}
	return image{blobs: [][]byte{config, layer}, manifest: encode(t, manifest)}
}

// newList makes a list of manifests.
func newList(t testing.TB, manifests ...[]byte) []byte {
	t.Helper()
	list := []object{}
	for _, m := range manifests {
		list = append(list, describe(typeImage, m))
	}
	return encode(t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": list})
}

func putBlob(t testing.TB, s *store.Store, repository string, content []byte) error {
	t.Helper()
	id, err := s.StartUpload(t.Context(), repository)
	if err != nil {
		return err
	}
	chunk := store.Chunk{Content: bytes.NewReader(content), Start: -1, Length: int64(len(content))}
	_, _, err = s.Finish(t.Context(), repository, id, chunk, digest.FromBytes(content))
	return err
}

// push sends an image, under tags or only by its digest.
func push(t testing.TB, s *store.Store, repository string, i image, tags ...string) digest.Digest {
	t.Helper()
	for _, blob := range i.blobs {
		if err := putBlob(t, s, repository, blob); err != nil {
			t.Fatal(err)
		}
	}
	return pushManifest(t, s, repository, i.manifest, tags...)
}

func pushManifest(t testing.TB, s *store.Store, repository string, manifest []byte, tags ...string) digest.Digest {
	t.Helper()
	d := digest.FromBytes(manifest)
	if _, err := s.PutManifest(t.Context(), repository, store.Push{Content: manifest, Digest: d, Tags: tags}, store.Actor{User: "pusher"}); err != nil {
		t.Fatal(err)
	}
	return d
}

// whole fails unless everything in the store is complete.
func whole(t testing.TB, s *store.Store) {
	t.Helper()
	problems, err := s.Scrub(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

func collect(t testing.TB, s *store.Store) store.Collected {
	t.Helper()
	done, err := s.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// tagged returns what a tag means, or "" if it means nothing.
func tagged(t testing.TB, s *store.Store, repository, tag string) digest.Digest {
	t.Helper()
	m, err := s.ManifestByTag(t.Context(), repository, tag)
	if errors.Is(err, store.ErrTag) || errors.Is(err, store.ErrTagExpired) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Digest
}

// history returns the rows of a tag, or of all if it is empty, as text: the
// latest first, times in seconds after the clock's beginning.
func history(t testing.TB, s *store.Store, repository, tag string) []string {
	t.Helper()
	rows, more, err := s.History(t.Context(), repository, store.Filter{Name: tag}, 0, 1000)
	if err != nil || more {
		t.Fatal(err, more)
	}
	epoch := newClock().at.UnixMilli()
	seconds := func(ms int64) string { return fmt.Sprintf("%g", float64(ms-epoch)/1000) }
	var texts []string
	for _, r := range rows {
		end := "alive"
		if r.End != nil {
			end = seconds(*r.End)
		}
		text := fmt.Sprintf("%s %s..%s %s", r.Name, seconds(r.Start), end, r.Digest.Encoded()[:8])
		if r.Reversion {
			text += " reversion"
		}
		if r.Immutable {
			text += " immutable"
		}
		texts = append(texts, text)
	}
	return texts
}

func short(d digest.Digest) string { return d.Encoded()[:8] }
