package store

import (
	"context"
	"fmt"
)

// repository is a row of repositories within a transaction.
type repository struct {
	id    int64
	name  string
	clock int64
	// changes is the number of the latest change that the transaction made.
	changes int64
}

// now is the time that decides which rows are alive.
func (r *repository) now(t *tx) int64 { return max(t.wall, r.clock) }

// find returns the repository of a name, or ErrRepository.
func (t *tx) find(name string) (*repository, error) {
	r := &repository{name: name}
	found, err := t.one(`SELECT id, clock FROM repositories WHERE name = ?`, []any{name}, &r.id, &r.clock)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: %s", ErrRepository, name)
	}
	return r, nil
}

// make returns the repository of a name, new if there was none.
func (t *tx) make(name string) (*repository, error) {
	if err := CheckRepository(name); err != nil {
		return nil, err
	}
	if _, err := t.exec(`INSERT INTO repositories (name) VALUES (?) ON CONFLICT DO NOTHING`, name); err != nil {
		return nil, err
	}
	return t.find(name)
}

// tick moves the repository's clock on and returns its new time, which no row
// of its history has. It also tells collections that something has changed.
func (t *tx) tick(r *repository) (int64, error) {
	_, err := t.one(`UPDATE repositories SET clock = max(clock + 1, ?), changes = changes + 1 WHERE id = ? RETURNING clock, changes`,
		[]any{t.wall, r.id}, &r.clock, &r.changes)
	return r.clock, err
}

// changed tells collections that what they have found out may no longer hold.
func (t *tx) changed(r *repository) error {
	_, err := t.exec(`UPDATE repositories SET changes = changes + 1 WHERE id = ?`, r.id)
	return err
}

// Exists tells whether there is such a repository.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	exists := false
	err := s.view(ctx, func(t *tx) error {
		found, err := t.one(`SELECT 1 FROM repositories WHERE name = ?`, []any{name}, new(int))
		exists = found
		return err
	})
	return exists, err
}

// Repositories returns the names after last, sorted, at most limit.
func (s *Store) Repositories(ctx context.Context, last string, limit int) ([]string, error) {
	var names []string
	err := s.view(ctx, func(t *tx) (err error) {
		names, err = t.texts(`SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?`, last, limit)
		return err
	})
	return names, err
}
