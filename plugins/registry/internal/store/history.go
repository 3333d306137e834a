package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	if _, err := t.one(`SELECT coalesce(sum(n), 0) FROM tag_names WHERE repository = ? AND name LIKE ? ESCAPE '\'`,
		[]any{r.id, like}, &matching); err != nil {
		return nil, err
	}
	if offset >= matching {
		return nil, nil
	}
	if _, err := t.one(`SELECT sum(n) FROM tag_counts WHERE repository = ?`, []any{r.id}, &all); err != nil {
		return nil, err
	}
	if expected := float64(offset+limit) * float64(all) / float64(matching); expected < float64(matching) {
		return t.numbers(`SELECT number FROM tags INDEXED BY tags_history WHERE repository = ? AND hidden = 0 AND name LIKE ? ESCAPE '\'
			ORDER BY number DESC LIMIT ? OFFSET ?`, r.id, like, limit, offset)
	}
	return t.numbers(`SELECT number FROM tags INDEXED BY tags_by_name WHERE repository = ?1 AND hidden = 0
		AND name IN (SELECT name FROM tag_names WHERE repository = ?1 AND name LIKE ?2 ESCAPE '\')
		ORDER BY number DESC LIMIT ?3 OFFSET ?4`, r.id, like, limit, offset)
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

// rows returns the rows of the given numbers, the latest first.
func (t *tx) rows(r *repository, numbers []int64) ([]Row, error) {
	wanted, err := json.Marshal(numbers)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(numbers))
	manifests := make([]int64, 0, len(numbers))
	err = t.each(`SELECT t.name, t.digest, t.starts, t.ends, t.reversion, t.immutable, m.id, m.list, m.layers
		FROM tags t INDEXED BY tags_history CROSS JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest
		WHERE t.repository = ? AND t.hidden = 0 AND t.number IN (SELECT value FROM json_each(?)) ORDER BY t.number DESC`,
		[]any{r.id, string(wanted)}, func(scan func(...any) error) error {
			var row Row
			var manifest int64
			if err := scan(&row.Name, &row.Digest, &row.Start, &row.End, &row.Reversion, &row.Immutable, &manifest, &row.List, &row.Size); err != nil {
				return err
			}
			rows, manifests = append(rows, row), append(manifests, manifest)
			return nil
		})
	if err != nil {
		return nil, err
	}
	if len(rows) != len(numbers) {
		return nil, fmt.Errorf("%d rows of %s have no manifest", len(numbers)-len(rows), r.name)
	}
	children, err := t.children(manifests)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Children = children[manifests[i]]
	}
	return rows, nil
}

// children returns what lists name, by list.
func (t *tx) children(manifests []int64) (map[int64][]Child, error) {
	wanted, err := json.Marshal(slices.Compact(slices.Sorted(slices.Values(manifests))))
	if err != nil {
		return nil, err
	}
	children := make(map[int64][]Child)
	err = t.each(`SELECT n.manifest, n.digest, m.id IS NOT NULL FROM needs n
		LEFT JOIN manifests m ON m.repository = n.repository AND m.digest = n.digest
		WHERE n.manifest IN (SELECT value FROM json_each(?)) AND n.child = 1 ORDER BY n.manifest, n.digest`,
		[]any{string(wanted)}, func(scan func(...any) error) error {
			var list int64
			var c Child
			if err := scan(&list, &c.Digest, &c.Present); err != nil {
				return err
			}
			children[list] = append(children[list], c)
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
			UNION ALL SELECT name FROM tags INDEXED BY tags_by_end WHERE repository = ?1 AND hidden = 0 AND ends > ?3 AND name > ?2
			ORDER BY name LIMIT ?4`, r.id, last, r.now(t), limit)
		return err
	})
	return names, err
}
