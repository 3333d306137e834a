package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Retention says which tags of a repository stay.
type Retention struct {
	// Tags are those that it concerns; nil is all.
	Tags *regexp.Regexp
	// Latest is how many of those, the last to be pushed, stay in any case.
	Latest int
	// For is how long a tag stays after it was pushed, in any case.
	For time.Duration
}

// Retain ends the tags that a retention does not keep, and returns their
// names. Immutable tags stay. With dryRun nothing is ended.
func (s *Store) Retain(ctx context.Context, name string, retention Retention, dryRun bool) ([]string, error) {
	choose := func(t *tx, r *repository) (ended []string, err error) {
		now, kept := r.now(t), 0
		err = t.each(`SELECT name, starts, immutable FROM (
				SELECT * FROM tags INDEXED BY tags_endless WHERE repository = ?1 AND hidden = 0 AND ends IS NULL
				UNION ALL SELECT * FROM tags INDEXED BY tags_by_end WHERE repository = ?1 AND hidden = 0 AND ends > ?2
			) ORDER BY number DESC`, []any{r.id, now}, func(scan func(...any) error) error {
			var tag string
			var starts int64
			var immutable bool
			if err := scan(&tag, &starts, &immutable); err != nil {
				return err
			}
			if immutable || retention.Tags != nil && !retention.Tags.MatchString(tag) {
				return nil
			}
			if kept++; kept > retention.Latest && (retention.For == 0 || starts <= now-retention.For.Milliseconds()) {
				ended = append(ended, tag)
			}
			return nil
		})
		return ended, err
	}
	var ended []string
	err := s.view(ctx, func(t *tx) error {
		r, err := t.find(name)
		if err != nil {
			return err
		}
		ended, err = choose(t, r)
		return err
	})
	if err != nil || dryRun || len(ended) == 0 {
		return ended, err
	}
	err = s.update(ctx, func(t *tx) error {
		r, err := t.find(name)
		if err != nil {
			return err
		}
		// What was pushed since stays, and may keep others from staying.
		if ended, err = choose(t, r); err != nil {
			return err
		}
		for _, tag := range ended {
			row, err := t.living(r, tag)
			if errors.Is(err, ErrTag) {
				continue // it was the companion of one that has just ended
			}
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
			if err := t.audit(r, Actor{}, "autoprune_tag_delete", map[string]any{"tag": tag, "digest": row.digest}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("retain tags of %s: %w", name, err)
	}
	return ended, nil
}
