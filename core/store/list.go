package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/iib-engine/iib/core"
)

// List implements core.Requests. Rows and total are of one moment.
func (s *Store) List(ctx context.Context, f core.Filter, p core.Page) ([]*core.Request, int64, error) {
	var requests []*core.Request
	var total int64
	err := s.list(ctx, f, func(t *tx, find finder) error {
		var ids []int64
		var err error
		ids, total, err = find(t, newWindow(p))
		if err != nil {
			return err
		}
		requests, err = t.listed(ids, p.History)
		return err
	})
	if err != nil {
		return nil, 0, s.fault(err, "list requests")
	}
	return requests, total, nil
}

// defaultPage is the size of a page that names none.
const defaultPage = 20

// window is the part of a list that a page stands for.
type window struct {
	before     int64
	skip, size int
}

func newWindow(p core.Page) window {
	w := window{before: p.Before, size: p.Size}
	if w.size <= 0 {
		w.size = defaultPage
	}
	if p.Before == 0 && p.Number > 1 {
		// A product that overflows lies past the end like any other.
		w.skip = w.size * (p.Number - 1)
		if w.skip/w.size != p.Number-1 {
			w.size = 0
		}
	}
	return w
}

// finder returns the IDs of a window, newest first, and how many match in all.
type finder func(t *tx, w window) (ids []int64, total int64, err error)

// list runs op with a way to find what the filter chooses.
func (s *Store) list(ctx context.Context, f core.Filter, op func(t *tx, find finder) error) error {
	if f.HasBatch {
		return s.read(ctx, func(t *tx) error {
			return op(t, func(t *tx, w window) ([]int64, int64, error) { return t.findInBatch(f, w) })
		})
	}
	find := func(t *tx, w window) ([]int64, int64, error) {
		ids, total := s.listing.find(f, w)
		return ids, total, nil
	}
	// Mostly nothing has changed since the last list, and many can look at
	// once. A lock is taken before a connection, of which there are only so many.
	err := func() error {
		s.listing.mu.RLock()
		defer s.listing.mu.RUnlock()
		return s.read(ctx, func(t *tx) error {
			if _, current, err := s.listing.current(t); err != nil || !current {
				return cmp.Or(err, errStale)
			}
			return op(t, find)
		})
	}()
	if !errors.Is(err, errStale) {
		return err
	}
	s.listing.mu.Lock()
	defer s.listing.mu.Unlock()
	return s.read(ctx, func(t *tx) error {
		if err := s.listing.refresh(t); err != nil {
			return err
		}
		return op(t, find)
	})
}

var errStale = errors.New("the listing is behind the database")

// findInBatch looks at the members of one batch, which are few.
func (t *tx) findInBatch(f core.Filter, w window) (ids []int64, total int64, err error) {
	err = t.each(func(rows *sql.Rows) error {
		r, err := scanListed(rows)
		if err != nil || !r.matches(f) {
			return err
		}
		total++
		if w.before > 0 && r.id >= w.before {
			return nil
		}
		if w.skip > 0 {
			w.skip--
		} else if len(ids) < w.size {
			ids = append(ids, r.id)
		}
		return nil
	}, `SELECT `+listedColumns+`WHERE r.batch = $1 ORDER BY r.id DESC`, f.Batch)
	return ids, total, err
}

// matches reports whether a filter chooses a request, whatever it says of
// batches.
func (r listed) matches(f core.Filter) bool {
	return (f.State == "" || f.State == r.state) &&
		(f.Type == "" || text(f.Type) == r.typ) &&
		(f.Type != "" || len(f.Types) == 0 || slices.Contains(f.Types, r.typ)) &&
		(f.User == "" || text(f.User) == r.user) &&
		(f.IndexImage == "" || text(f.IndexImage) == r.indexImage) &&
		(f.FromIndex == "" || text(f.FromIndex) == r.fromIndex) &&
		strings.HasPrefix(r.fromIndex, text(f.FromIndexPrefix))
}

// listed reads requests by their IDs, which are descending.
func (t *tx) listed(ids []int64, history bool) ([]*core.Request, error) {
	var requests []*core.Request
	for some := range slices.Chunk(ids, inList) {
		list, args := in(some)
		found, err := t.requests(`WHERE r.id IN (`+list+`) ORDER BY r.id DESC`, args...)
		if err != nil {
			return nil, err
		}
		requests = append(requests, found...)
	}
	if history {
		for _, r := range requests {
			if err := t.addHistory(r); err != nil {
				return nil, err
			}
		}
	}
	return requests, nil
}
