package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/opencontainers/go-digest"
)

// Change is what a request wants of a tag. Nil members ask for nothing.
type Change struct {
	// Digest is the manifest that the tag shall mean. It must be reachable:
	// alive under some tag, or part of a list that is.
	Digest *digest.Digest
	// Expiration sets the tag's end, or takes it away.
	Expiration *Expiration
	// Immutable protects the tag, or takes the protection away.
	Immutable *bool
}

// Expiration is when a tag ends.
type Expiration struct {
	// Never takes the end away; At is ignored.
	Never bool
	// At is in seconds since 1970. It is brought within the bounds that the
	// rules set, counted from the start of the tag's row.
	At int64
}

// ChangeTag changes a tag, all of it or nothing. Where the change moves the
// tag, the rest of it concerns the row that the move opens. admin is the right
// to take immutability away. The error may be ErrTagName, ErrTag, ErrManifest,
// ErrImmutable, ErrTime or ErrDenied.
func (s *Store) ChangeTag(ctx context.Context, repository, name string, change Change, admin bool, actor Actor) error {
	if err := CheckTag(name); err != nil {
		return err
	}
	rules := s.options.Rules(repository)
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		if change.Immutable != nil && !*change.Immutable {
			// First, so that one request can free a tag and move it.
			if change.Digest != nil {
				row, found, err := t.latest(r, name)
				if err != nil {
					return err
				}
				if found && row.alive(r.now(t)) {
					if err := t.protect(r, name, false, admin, actor); err != nil {
						return err
					}
				}
			} else if err := t.protect(r, name, false, admin, actor); err != nil {
				return err
			}
		}
		if change.Digest != nil {
			if err := t.move(r, name, *change.Digest, rules, actor); err != nil {
				return err
			}
		}
		if change.Expiration != nil {
			if err := t.expire(r, name, *change.Expiration, rules, actor); err != nil {
				return err
			}
		}
		if change.Immutable != nil && *change.Immutable {
			return t.protect(r, name, true, admin, actor)
		}
		return nil
	})
}

func (t *tx) move(r *repository, name string, d digest.Digest, rules Rules, actor Actor) error {
	reachable, err := t.reachable(r, d)
	if err != nil {
		return err
	}
	if !reachable {
		return fmt.Errorf("%w: %s", ErrManifest, d)
	}
	old, err := t.open(r, opening{name: name, digest: d, verb: "overwrite"}, rules)
	if err != nil {
		return err
	}
	kind, before := "create_tag", any(nil)
	if old != nil {
		kind, before = "move_tag", old.digest
	}
	return t.audit(r, actor, kind, map[string]any{
		"username": actor.User, "tag": name, "manifest_digest": d, "original_manifest_digest": before,
	})
}

// reachable tells whether a manifest is alive: a tag means it, or a list that
// a tag means, through any number of lists.
func (t *tx) reachable(r *repository, d digest.Digest) (bool, error) {
	return t.one(`WITH RECURSIVE up (digest) AS (
			SELECT digest FROM manifests WHERE repository = ?1 AND digest = ?2 AND hidden = 0
			UNION
			SELECT m.digest FROM up CROSS JOIN needs n ON n.repository = ?1 AND n.digest = up.digest AND n.child = 1
				CROSS JOIN manifests m ON m.id = n.manifest AND m.hidden = 0
		)
		SELECT 1 FROM up CROSS JOIN tags t INDEXED BY tags_by_digest ON t.repository = ?1 AND t.digest = up.digest
		WHERE t.hidden = 0 AND (t.ends IS NULL OR t.ends > ?3) LIMIT 1`, []any{r.id, d, r.now(t)}, new(int))
}

func (t *tx) expire(r *repository, name string, e Expiration, rules Rules, actor Actor) error {
	row, err := t.living(r, name)
	if err != nil {
		return err
	}
	var ends *int64
	if !e.Never {
		if row.immutable {
			return &ImmutableError{Tag: name, Operation: "set expiration on"}
		}
		at, err := rules.end(row.starts, e.At, r.now(t))
		if err != nil {
			return err
		}
		ends = &at
	}
	if row.ends == nil && ends == nil {
		return nil
	}
	now, err := t.tick(r)
	if err != nil {
		return err
	}
	if ends != nil && *ends <= now {
		return fmt.Errorf("%w: the tag would end at once", ErrTime)
	}
	if _, err := t.exec(`UPDATE tags SET ends = ? WHERE id = ?`, ends, row.id); err != nil {
		return err
	}
	return t.audit(r, actor, "change_tag_expiration", map[string]any{
		"username": actor.User, "tag": name, "expiration_date": isoTime(ends), "old_expiration_date": isoTime(row.ends),
	})
}

// end brings a wanted expiration, in seconds, within the bounds and returns it
// in milliseconds.
func (r Rules) end(starts, wanted, now int64) (int64, error) {
	if wanted <= now/1000 {
		return 0, fmt.Errorf("%w: the expiration is not in the future", ErrTime)
	}
	if wanted > math.MaxInt64/1000 {
		return 0, fmt.Errorf("%w: the expiration is out of range", ErrTime)
	}
	shortest, longest := r.MinLife, r.MaxLife
	if shortest <= 0 {
		shortest = defaultMinLife
	}
	if longest <= 0 {
		longest = defaultMaxLife
	}
	life := wanted - starts/1000
	life = min(max(life, int64(shortest/time.Second)), int64(longest/time.Second))
	ends := starts + life*1000
	if ends <= now {
		return 0, fmt.Errorf("%w: the tag is older than the longest life, %s, that an expiration can give it", ErrTime, longest)
	}
	return ends, nil
}

func isoTime(ms *int64) any {
	if ms == nil {
		return nil
	}
	return time.UnixMilli(*ms).UTC().Format(time.RFC3339)
}

func (t *tx) protect(r *repository, name string, immutable, admin bool, actor Actor) error {
	row, err := t.living(r, name)
	if err != nil {
		return err
	}
	switch {
	case row.immutable == immutable:
		return nil
	case !immutable && !admin:
		return fmt.Errorf("%w: only an administrator of the repository takes immutability from tag '%s'", ErrDenied, name)
	case immutable && row.ends != nil:
		return fmt.Errorf("%w: cannot make tag %s immutable: tag has expiration set; take that away first", ErrTime, name)
	}
	if _, err := t.exec(`UPDATE tags SET immutable = ? WHERE id = ?`, immutable, row.id); err != nil {
		return err
	}
	return t.audit(r, actor, "change_tag_immutability", map[string]any{
		"username": actor.User, "tag": name, "immutable": immutable, "previous_immutable": row.immutable,
	})
}

// DeleteTag ends a tag. The error may be ErrTag or ErrImmutable. What is
// recorded of it depends on the door that the request came in by: the API, or
// the registry's own protocol.
func (s *Store) DeleteTag(ctx context.Context, repository, name string, byAPI bool, actor Actor) error {
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		row, err := t.living(r, name)
		if err != nil {
			return err
		}
		now, err := t.tick(r)
		if err != nil {
			return err
		}
		if err := t.end(r, row, now, "delete"); err != nil {
			return err
		}
		if err := t.companions(r, row.digest, now); err != nil {
			return err
		}
		metadata := map[string]any{"tag": name, "digest": row.digest, "user-agent": actor.Agent}
		if byAPI {
			metadata = map[string]any{"tag": name, "digest": row.digest, "username": actor.User}
		}
		return t.audit(r, actor, "delete_tag", metadata)
	})
}

// RestoreTag makes a tag mean a manifest of the repository, be it alive, in
// the history, or deleted but not yet collected. The error may be ErrTagName,
// ErrManifest or ErrImmutable.
func (s *Store) RestoreTag(ctx context.Context, repository, name string, d digest.Digest, actor Actor) error {
	if err := CheckTag(name); err != nil {
		return err
	}
	rules := s.options.Rules(repository)
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		if err := t.revive(r, d); err != nil {
			return err
		}
		old, err := t.open(r, opening{name: name, digest: d, reversion: true, verb: "restore"}, rules)
		if err != nil {
			return err
		}
		var before any
		if old != nil {
			before = old.digest
		}
		return t.audit(r, actor, "revert_tag", map[string]any{
			"username": actor.User, "tag": name, "manifest_digest": d, "original_manifest_digest": before,
		})
	})
}

// revive shows a manifest again, with all that belongs to it, or returns
// ErrManifest.
func (t *tx) revive(r *repository, d digest.Digest) error {
	family, err := t.texts(`WITH RECURSIVE down (id, digest) AS (
			SELECT id, digest FROM manifests WHERE repository = ?1 AND digest = ?2
			UNION
			SELECT m.id, m.digest FROM down CROSS JOIN needs n ON n.manifest = down.id AND n.child = 1
				CROSS JOIN manifests m ON m.repository = ?1 AND m.digest = n.digest
		) SELECT digest FROM down`, r.id, d)
	if err != nil {
		return err
	}
	if len(family) == 0 {
		return fmt.Errorf("%w: %s", ErrManifest, d)
	}
	for _, member := range family {
		if _, err := t.exec(`UPDATE links SET hidden = 0, touched = max(touched, ?3) WHERE repository = ?1 AND hidden = 1 AND digest IN (
				SELECT n.digest FROM manifests m JOIN needs n ON n.manifest = m.id
				WHERE m.repository = ?1 AND m.digest = ?2 AND n.child = 0)`, r.id, member, t.wall); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE manifests SET hidden = 0 WHERE repository = ? AND digest = ? AND hidden = 1`, r.id, member); err != nil {
			return err
		}
	}
	return nil
}

// ForgetTag takes rows of a tag out of the history for good: the one that is
// alive, or the dead ones that meant a manifest. The error may be ErrTag or
// ErrManifest. The next collection takes what only they kept.
func (s *Store) ForgetTag(ctx context.Context, repository, name string, alive bool, d digest.Digest, actor Actor) error {
	rules := s.options.Rules(repository)
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		now, err := t.tick(r)
		if err != nil {
			return err
		}
		if alive {
			row, err := t.living(r, name)
			if err != nil {
				return err
			}
			d = row.digest
			if row.immutable {
				return fmt.Errorf("%w: %s is immutable", ErrTag, name)
			}
			if _, err := t.exec(`DELETE FROM tags WHERE id = ?`, row.id); err != nil {
				return err
			}
			if err := t.companions(r, d, now); err != nil {
				return err
			}
		} else {
			known, err := t.one(`SELECT 1 FROM manifests WHERE repository = ? AND digest = ?`, []any{r.id, d}, new(int))
			if err != nil {
				return err
			}
			if !known {
				return fmt.Errorf("%w: %s", ErrManifest, d)
			}
			n, err := t.exec(`DELETE FROM tags INDEXED BY tags_by_name WHERE repository = ? AND name = ? AND digest = ? AND hidden = 0
				AND immutable = 0 AND ends <= ? AND ends > ?`, r.id, name, d, now, now-rules.Window.Milliseconds())
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("%w: %s has no such row in its history", ErrTag, name)
			}
		}
		return t.audit(r, actor, "permanently_delete_tag", map[string]any{
			"username": actor.User, "tag": name, "manifest_digest": d,
		})
	})
}
