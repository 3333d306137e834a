package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Row is a period in which a name meant a manifest.
type Row struct {
	Name   string
	Digest digest.Digest
	// Start and End are in milliseconds since 1970. A row without End is alive;
	// one whose End is yet to come is, until then.
	Start     int64
	End       *int64
	Reversion bool
	Immutable bool
	// List tells that the manifest is a list; then Children are the manifests
	// it names, and otherwise Size is the sum of the sizes of its layers.
	List     bool
	Size     *int64
	Children []Child
}

// Child is a manifest that a list names.
type Child struct {
	Digest  digest.Digest
	Present bool
}

// Filter chooses rows of a history; a row must pass all of it.
type Filter struct {
	// Name is the exact name; empty is any.
	Name string
	// Like is a part of the name, in any case of letters; empty is any.
	Like string
	// Alive leaves out rows that have ended.
	Alive bool
}

// maxOffset is beyond every history.
const maxOffset = 1 << 40

// History returns rows of a repository's history, the latest first: limit of
// them, after as many as offset. more tells that there are others.
func (s *Store) History(ctx context.Context, repository string, f Filter, offset, limit int64) (rows []Row, more bool, err error) {
	offset = min(offset, maxOffset)
	err = s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		numbers, err := t.choose(r, f, offset, limit+1)
		if err != nil {
			return err
		}
		if more = int64(len(numbers)) > limit; more {
			numbers = numbers[:limit]
		}
		rows, err = t.rows(r, numbers)
		return err
	})
	return rows, more, err
}

// choose returns the numbers of the rows that pass a filter, the latest first.
func (t *tx) choose(r *repository, f Filter, offset, limit int64) ([]int64, error) {
	now := r.now(t)
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Like) + "%"
	switch {
	case f.Name != "" && !strings.Contains(strings.ToLower(f.Name), strings.ToLower(f.Like)):
		return nil, nil
	case f.Name != "" && f.Alive:
		// The row of a name that is alive is its latest.
		return t.numbers(`SELECT number FROM (SELECT number, ends FROM tags WHERE repository = ? AND name = ? AND hidden = 0
			ORDER BY number DESC LIMIT 1) WHERE ends IS NULL OR ends > ? LIMIT ? OFFSET ?`, r.id, f.Name, now, limit, offset)
	case f.Name != "":
		return t.numbers(`SELECT number FROM tags WHERE repository = ? AND name = ? AND hidden = 0
			ORDER BY number DESC LIMIT ? OFFSET ?`, r.id, f.Name, limit, offset)
	case f.Alive && f.Like != "":
		return t.numbers(`SELECT number FROM tags WHERE repository = ?1 AND hidden = 0 AND ends IS NULL AND name LIKE ?3 ESCAPE '\'
			UNION ALL SELECT number FROM tags WHERE repository = ?1 AND hidden = 0 AND ends > ?2 AND name LIKE ?3 ESCAPE '\'
			ORDER BY number DESC LIMIT ?4 OFFSET ?5`, r.id, now, like, limit, offset)
	case f.Alive:
		return t.numbers(`SELECT number FROM tags WHERE repository = ?1 AND hidden = 0 AND ends IS NULL
			UNION ALL SELECT number FROM tags WHERE repository = ?1 AND hidden = 0 AND ends > ?2
			ORDER BY number DESC LIMIT ?3 OFFSET ?4`, r.id, now, limit, offset)
	case f.Like != "":
		return t.chooseLike(r, like, offset, limit)
	}
	top, offset, err := t.run(r, offset)
	if err != nil {
		return nil, err
	}
	return t.numbers(`SELECT number FROM tags WHERE repository = ? AND hidden = 0 AND number < ?
		ORDER BY number DESC LIMIT ? OFFSET ?`, r.id, top, limit, offset)
}

// run finds the run of numbers in which an offset lies. It returns the number
// where that ends, and what is left of the offset there.
func (t *tx) run(r *repository, offset int64) (top, rest int64, err error) {
	rest = offset
	err = t.each(`SELECT run, n FROM tag_counts WHERE repository = ? ORDER BY run DESC`, []any{r.id},
		func(scan func(...any) error) error {
			var run, n int64
			if err := scan(&run, &n); err != nil {
				return err
			}
			if rest < n {
				top = (run + 1) << 10
				return errStop
			}
			rest -= n
			return nil
		})
	return top, rest, err
}

// chooseLike chooses rows by a part of their names. It either goes through the
// history until the page is full, or sorts the rows of all matching names,
// whichever promises to be less.
func (t *tx) chooseLike(r *repository, like string, offset, limit int64) ([]int64, error) {
	var matching, all int64
	var names []string
	err := t.each(`SELECT name, n, name LIKE ? ESCAPE '\' FROM tag_names WHERE repository = ?`, []any{like, r.id},
		func(scan func(...any) error) error {
			var name string
			var n int64
			var matches bool
			if err := scan(&name, &n, &matches); err != nil {
				return err
			}
			all += n
			if matches {
				matching += n
				names = append(names, name)
			}
			return nil
		})
	if err != nil || offset >= matching {
		return nil, err
	}
	if expected := float64(offset+limit) * float64(all) / float64(matching); expected < float64(matching) {
		return t.numbers(`SELECT number FROM tags WHERE repository = ? AND hidden = 0 AND name LIKE ? ESCAPE '\'
			ORDER BY number DESC LIMIT ? OFFSET ?`, r.id, like, limit, offset)
	}
	encoded, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	return t.numbers(`SELECT number FROM tags WHERE repository = ? AND hidden = 0 AND name IN (SELECT value FROM json_each(?))
		ORDER BY number DESC LIMIT ? OFFSET ?`, r.id, string(encoded), limit, offset)
}

func (t *tx) numbers(query string, args ...any) ([]int64, error) {
	var numbers []int64
	err := t.each(query, args, func(scan func(...any) error) error {
		var number int64
		if err := scan(&number); err != nil {
			return err
		}
		numbers = append(numbers, number)
		return nil
	})
	return numbers, err
}

// rows returns the rows of the given numbers, in their order.
func (t *tx) rows(r *repository, numbers []int64) ([]Row, error) {
	rows := make([]Row, 0, len(numbers))
	for _, number := range numbers {
		var row Row
		var manifest int64
		found, err := t.one(`SELECT t.name, t.digest, t.starts, t.ends, t.reversion, t.immutable, m.id, m.list, m.layers
			FROM tags t JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest
			WHERE t.repository = ? AND t.number = ? AND t.hidden = 0`, []any{r.id, number},
			&row.Name, &row.Digest, &row.Start, &row.End, &row.Reversion, &row.Immutable, &manifest, &row.List, &row.Size)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("row %d of %s has no manifest", number, r.name)
		}
		if row.List {
			if row.Children, err = t.children(r, manifest); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (t *tx) children(r *repository, manifest int64) ([]Child, error) {
	var children []Child
	err := t.each(`SELECT n.digest, m.id IS NOT NULL FROM needs n
		LEFT JOIN manifests m ON m.repository = n.repository AND m.digest = n.digest
		WHERE n.manifest = ? AND n.child = 1 ORDER BY n.digest`, []any{manifest}, func(scan func(...any) error) error {
		var c Child
		if err := scan(&c.Digest, &c.Present); err != nil {
			return err
		}
		children = append(children, c)
		return nil
	})
	return children, err
}

// Tags returns the names that are alive and come after last, sorted, at most
// limit, or ErrRepository.
func (s *Store) Tags(ctx context.Context, repository, last string, limit int) ([]string, error) {
	var names []string
	err := s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		names, err = t.texts(`SELECT name FROM tags INDEXED BY tags_open WHERE repository = ?1 AND hidden = 0 AND ends IS NULL AND name > ?2
			UNION ALL SELECT name FROM tags WHERE repository = ?1 AND hidden = 0 AND ends > ?3 AND name > ?2
			ORDER BY name LIMIT ?4`, r.id, last, r.now(t), limit)
		return err
	})
	return names, err
}
