package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// Collected counts what a collection removed.
type Collected struct {
	Rows, Manifests, Links, Blobs int
	// Bytes is the size of the blobs.
	Bytes int64
}

func (c *Collected) add(other Collected) {
	c.Rows += other.Rows
	c.Manifests += other.Manifests
	c.Links += other.Links
	c.Blobs += other.Blobs
	c.Bytes += other.Bytes
}

// batch is how much a collection does while it keeps pushes waiting.
const batch = 500

// Collect removes the rows of the history whose window has passed, the
// manifests that nothing keeps any longer, and their blobs. It may run at any
// time, while anything else goes on; if it is cut short, the next one goes on.
func (s *Store) Collect(ctx context.Context) (Collected, error) {
	var total Collected
	for last := ""; ; {
		names, err := s.Repositories(ctx, last, 1000)
		if err != nil {
			return total, fmt.Errorf("collect: %w", err)
		}
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			done, err := s.collectRepository(ctx, name)
			total.add(done)
			if err != nil {
				return total, fmt.Errorf("collect %s: %w", name, err)
			}
		}
		last = names[len(names)-1]
	}
	done, err := s.removeDoomed(ctx)
	total.add(done)
	if err != nil {
		return total, fmt.Errorf("collect blobs: %w", err)
	}
	return total, nil
}

func (s *Store) collectRepository(ctx context.Context, name string) (done Collected, err error) {
	if done.Rows, err = s.collectRows(ctx, name); err != nil {
		return done, err
	}
	if done.Manifests, err = s.collectManifests(ctx, name); err != nil {
		return done, err
	}
	done.Links, err = s.collectLinks(ctx, name)
	return done, err
}

// collectRows removes rows that ended before the window, and rows that held a
// manifest for a push.
func (s *Store) collectRows(ctx context.Context, name string) (removed int, err error) {
	window := s.options.Rules(name).Window.Milliseconds()
	for {
		n := int64(0)
		err := s.ifAny(ctx, name, func(t *tx, r *repository) (bool, error) {
			return t.one(`SELECT 1 FROM tags WHERE repository = ?1 AND ((hidden = 0 AND ends <= ?2) OR (hidden = 1 AND ends <= ?3)) LIMIT 1`,
				[]any{r.id, r.now(t) - window, r.now(t)}, new(int))
		}, func(t *tx, r *repository) (err error) {
			n, err = t.exec(`DELETE FROM tags WHERE id IN (SELECT id FROM tags
				WHERE repository = ?1 AND ((hidden = 0 AND ends <= ?2) OR (hidden = 1 AND ends <= ?3)) LIMIT ?4)`,
				r.id, r.now(t)-window, r.now(t), batch)
			if err != nil {
				return err
			}
			return t.changed(r)
		})
		removed += int(n)
		if err != nil || n == 0 {
			return removed, err
		}
	}
}

// ifAny does something to a repository if a look at it, which keeps nobody
// waiting, finds that there is something to do.
func (s *Store) ifAny(ctx context.Context, name string, look func(*tx, *repository) (bool, error), do func(*tx, *repository) error) error {
	any := false
	err := s.view(ctx, func(t *tx) error {
		r, err := t.find(name)
		if err != nil {
			return err
		}
		any, err = look(t, r)
		return err
	})
	if err != nil || !any {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(name)
		if err != nil {
			return err
		}
		return do(t, r)
	})
}

// attempts is how often a collection is overtaken before it makes pushes wait
// while it looks.
const attempts = 3

// collectManifests removes the manifests that nothing keeps. Which those are
// is found out while pushes go on; if one has come in between, the finding is
// void.
func (s *Store) collectManifests(ctx context.Context, name string) (removed int, err error) {
	for attempt := range attempts + 1 {
		var garbage []int64
		var seen int64
		err := s.view(ctx, func(t *tx) error {
			r, err := t.find(name)
			if err != nil {
				return err
			}
			if _, err := t.one(`SELECT changes FROM repositories WHERE id = ?`, []any{r.id}, &seen); err != nil {
				return err
			}
			garbage, err = s.garbage(t, r)
			return err
		})
		if err != nil || len(garbage) == 0 {
			return 0, err
		}
		overtaken := false
		err = s.update(ctx, func(t *tx) error {
			r, err := t.find(name)
			if err != nil {
				return err
			}
			var changes int64
			if _, err := t.one(`SELECT changes FROM repositories WHERE id = ?`, []any{r.id}, &changes); err != nil {
				return err
			}
			if changes != seen {
				if attempt < attempts {
					overtaken = true
					return nil
				}
				if garbage, err = s.garbage(t, r); err != nil {
					return err
				}
			}
			for _, id := range garbage {
				if _, err := t.exec(`DELETE FROM manifests WHERE id = ?`, id); err != nil {
					return err
				}
			}
			return t.changed(r)
		})
		if err != nil {
			return 0, err
		}
		if !overtaken {
			return len(garbage), nil
		}
	}
	return 0, nil
}

// promised is the time after which a promise still holds.
func (s *Store) promised(t *tx) int64 { return t.wall - 2*s.options.Hold.Milliseconds() }

// garbage returns the manifests that nothing keeps: no row, no promise, no list
// and no subject that is kept.
func (s *Store) garbage(t *tx, r *repository) ([]int64, error) {
	return t.numbers(`WITH RECURSIVE kept (digest) AS (
			SELECT digest FROM tags WHERE repository = ?1
			UNION
			SELECT digest FROM manifests WHERE repository = ?1 AND touched > ?2
			UNION
			SELECT n.digest FROM kept CROSS JOIN manifests m ON m.repository = ?1 AND m.digest = kept.digest
				CROSS JOIN needs n ON n.manifest = m.id AND n.child = 1
			UNION
			SELECT m.digest FROM kept CROSS JOIN manifests m ON m.repository = ?1 AND m.subject = kept.digest
		)
		SELECT id FROM manifests WHERE repository = ?1 AND digest NOT IN (SELECT digest FROM kept)`,
		r.id, s.promised(t))
}

// collectLinks takes from a repository the blobs that none of its manifests
// names and that nobody was promised.
func (s *Store) collectLinks(ctx context.Context, name string) (removed int, err error) {
	const unneeded = `SELECT digest FROM links l WHERE repository = ?1 AND touched <= ?2
		AND NOT EXISTS (SELECT 1 FROM needs n WHERE n.repository = ?1 AND n.digest = l.digest AND n.child = 0) LIMIT ?3`
	for {
		var digests []string
		err := s.ifAny(ctx, name, func(t *tx, r *repository) (bool, error) {
			found, err := t.texts(unneeded, r.id, s.promised(t), 1)
			return len(found) > 0, err
		}, func(t *tx, r *repository) (err error) {
			if digests, err = t.texts(unneeded, r.id, s.promised(t), batch); err != nil {
				return err
			}
			for _, d := range digests {
				if _, err := t.exec(`DELETE FROM links WHERE repository = ? AND digest = ?`, r.id, d); err != nil {
					return err
				}
				linked, err := t.one(`SELECT 1 FROM links WHERE digest = ? LIMIT 1`, []any{d}, new(int))
				if err != nil {
					return err
				}
				if linked {
					continue
				}
				if _, err := t.exec(`INSERT INTO doomed (digest) VALUES (?) ON CONFLICT DO NOTHING`, d); err != nil {
					return err
				}
			}
			return nil
		})
		removed += len(digests)
		if err != nil || len(digests) == 0 {
			return removed, err
		}
	}
}

// removeDoomed removes blobs that no repository has: first their rows, then,
// once that is certain to be on the disk, their files.
func (s *Store) removeDoomed(ctx context.Context) (done Collected, err error) {
	for {
		var digests []string
		err := s.view(ctx, func(t *tx) (err error) {
			digests, err = t.texts(`SELECT digest FROM doomed LIMIT ?`, batch)
			return err
		})
		if err != nil || len(digests) == 0 {
			return done, err
		}
		err = s.update(ctx, func(t *tx) error {
			for _, d := range digests {
				var size int64
				gone, err := t.one(`DELETE FROM blobs WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM links WHERE digest = ?1) RETURNING size`,
					[]any{d}, &size)
				if err != nil {
					return err
				}
				if gone {
					done.Blobs++
					done.Bytes += size
				}
			}
			return nil
		})
		if err != nil {
			return done, err
		}
		// Writing is locked meanwhile, so no push brings one of them back
		// between the look and the removal.
		err = s.update(ctx, func(t *tx) error {
			for _, d := range digests {
				known, err := t.one(`SELECT 1 FROM blobs WHERE digest = ? AND content IS NULL`, []any{d}, new(int))
				if err != nil {
					return err
				}
				if !known {
					if err := s.remove(t.ctx, blobPath(digest.Digest(d))); err != nil {
						return err
					}
				}
				if _, err := t.exec(`DELETE FROM doomed WHERE digest = ?`, d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return done, err
		}
	}
}

// remove deletes a file, if it is there.
func (s *Store) remove(ctx context.Context, path string) error {
	err := s.driver.Delete(ctx, path)
	if _, missing := errors.AsType[driver.PathNotFoundError](err); missing {
		return nil
	}
	return err
}
