package servecache

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// fnv64 is FNV-1a, the hash of opm's cache digest. Going through hash.Hash
// would cost nothing either; a method on the value reads better below.
type fnv64 uint64

const (
	fnvOffset fnv64 = 0xcbf29ce484222325
	fnvPrime  fnv64 = 0x100000001b3
)

func (h *fnv64) Write(p []byte) (int, error) {
	s := *h
	for _, c := range p {
		s = (s ^ fnv64(c)) * fnvPrime
	}
	*h = s
	return len(p), nil
}

// String is the digest as opm writes it.
func (h fnv64) String() string { return fmt.Sprintf("%016x", uint64(h)) }

// pogrebDigest is opm's digest of a catalog and its pogreb cache: the
// normalized metas in the order of the catalog, then keys and values in the
// order of the keys.
func (c *Cache) pogrebDigest(ctx context.Context) (string, error) {
	h := fnvOffset
	if err := c.hashMetas(ctx, &h); err != nil {
		return "", err
	}
	buf := bufio.NewReaderSize(nil, 256<<10)
	for _, s := range c.states {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := c.hashRecords(&h, buf, s, bundleSection, s.Bundles); err != nil {
			return "", err
		}
	}
	if err := c.hashCustoms(&h, buf); err != nil {
		return "", err
	}
	_, _ = io.WriteString(&h, packagesKey)
	_, _ = h.Write(c.packages)
	return h.String(), nil
}

// place is where the normalized metas of a run lie in a state.
type place struct {
	tree.Run
	state *state
	// first is the number of the first meta in the state.
	first     int
	off, size int64
}

// places yields the places of all metas in the order of the catalog. Those of
// a package follow each other in its state, but other packages' may lie between
// them in the catalog.
func (c *Cache) places() iter.Seq[place] {
	return func(yield func(place) bool) {
		next := make(map[string]*place, len(c.states))
		for _, s := range c.states {
			next[s.pkg] = &place{state: s, off: s.offset(normalSection)}
		}
		for run := range c.tree.Runs() {
			at := next[run.Package]
			at.Run, at.size = run, 0
			for _, n := range at.state.Normal[at.first : at.first+run.Metas] {
				at.size += n
			}
			if !yield(*at) {
				return
			}
			at.first += run.Metas
			at.off += at.size
		}
	}
}

// hashMetas hashes the normalized metas.
func (c *Cache) hashMetas(ctx context.Context, h *fnv64) error {
	sums := make(map[*state]uint32, len(c.states))
	buf := make([]byte, 256<<10)
	hashRun := func(at place) error {
		r, err := at.state.open(c.store.states, at.off, at.size)
		if err != nil {
			return err
		}
		defer r.Close()
		sum := sums[at.state]
		for {
			n, err := r.Read(buf)
			_, _ = h.Write(buf[:n])
			sum = crc32.Update(sum, castagnoli, buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		sums[at.state] = sum
		if at.first+at.Metas == len(at.state.Normal) && sum != at.state.Sums[normalSection] {
			return at.state.damaged(c.store.states)
		}
		return nil
	}
	for at := range c.places() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := hashRun(at); err != nil {
			return err
		}
	}
	return nil
}

// hashRecords hashes the keys and values of a section's records.
func (c *Cache) hashRecords(h *fnv64, buf *bufio.Reader, s *state, section int, records []stateRecord) error {
	if len(records) == 0 {
		return nil
	}
	r, err := s.openSection(c.store.states, section)
	if err != nil {
		return err
	}
	defer r.Close()
	return hashFramed(h, buf, r, s, records...)
}

// hashFramed hashes the keys and values of records, which r consists of.
func hashFramed(h *fnv64, buf *bufio.Reader, r io.Reader, s *state, records ...stateRecord) error {
	buf.Reset(r)
	for _, rec := range records {
		if _, err := buf.Discard(frameHead); err != nil {
			return readError(s, err)
		}
		for rest := int64(len(rec.Key)) + rec.Value; rest > 0; {
			text, err := buf.Peek(int(min(rest, int64(buf.Size()))))
			if err != nil {
				return readError(s, err)
			}
			_, _ = h.Write(text)
			_, _ = buf.Discard(len(text))
			rest -= int64(len(text))
		}
		if _, err := buf.Discard(frameTail); err != nil {
			return readError(s, err)
		}
	}
	// The end is where damage is found.
	if _, err := buf.Peek(1); err != io.EOF {
		return readError(s, err)
	}
	return nil
}

// hashCustoms hashes the records of custom metas of all packages. They are few.
func (c *Cache) hashCustoms(h *fnv64, buf *bufio.Reader) error {
	type custom struct {
		state *state
		rec   stateRecord
		off   int64
	}
	var customs []custom
	for _, s := range c.states {
		off := s.offset(customSection)
		for _, rec := range s.Customs {
			customs = append(customs, custom{s, rec, off})
			off += rec.Frame
		}
	}
	slices.SortFunc(customs, func(a, b custom) int { return strings.Compare(a.rec.Key, b.rec.Key) })
	for _, p := range customs {
		r, err := p.state.openRecord(c.store.states, p.off, p.rec)
		if err != nil {
			return err
		}
		err = hashFramed(h, buf, r, p.state, p.rec)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func readError(s *state, err error) error {
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		err = cas.ErrDamaged
	}
	if sdk.CodeOf(err) == sdk.Unavailable {
		return err
	}
	return sdk.Errorf(sdk.Unavailable, "serve cache state of package %s: %w", s.pkg, err)
}
