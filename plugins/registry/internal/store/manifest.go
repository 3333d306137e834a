package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Manifest is a stored manifest.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Size      int64
	// Content is the manifest byte by byte as it was pushed.
	Content []byte
}

// Push is a manifest on its way in.
type Push struct {
	Content     []byte
	ContentType string
	// Digest is the one that the client says it has; empty if it says none.
	Digest digest.Digest
	// Tags are given to it; without any it is kept for the time of the hold,
	// in which a list or a tag must follow.
	Tags []string
	// Was, if it is not nil, is what each of the tags must be before: a digest,
	// or empty for none. A tag that is the manifest already passes.
	Was *digest.Digest
}

// Pushed is what has become of a Push.
type Pushed struct {
	Digest digest.Digest
	// Subject is what the manifest refers to; empty if it is no referrer.
	Subject digest.Digest
}

// PutManifest stores a manifest and moves its tags to it, all or nothing. The
// error may be ErrInvalid, ErrMismatch, ErrAbsent, ErrTooLarge, ErrImmutable,
// ErrMoved, ErrName or ErrTagName.
func (s *Store) PutManifest(ctx context.Context, repository string, push Push, actor Actor) (Pushed, error) {
	algorithm := digest.SHA256
	if push.Digest != "" {
		algorithm = push.Digest.Algorithm()
	}
	d := algorithm.FromBytes(push.Content)
	if push.Digest != "" && push.Digest != d {
		return Pushed{}, fmt.Errorf("%w: the manifest has %s, not %s", ErrMismatch, d, push.Digest)
	}
	for _, tag := range push.Tags {
		if err := CheckTag(tag); err != nil {
			return Pushed{}, err
		}
	}
	doc, err := parse(push.Content, push.ContentType)
	if err != nil {
		return Pushed{}, err
	}
	lease := s.lease(ctx, doc)
	rules := s.options.Rules(repository)

	pushed := Pushed{Digest: d}
	if doc.Subject != nil {
		pushed.Subject = doc.Subject.Digest
	}
	err = s.update(ctx, func(t *tx) error {
		r, err := t.make(repository)
		if err != nil {
			return err
		}
		needs, err := t.check(r, doc, rules)
		if err != nil {
			return err
		}
		if doc.list {
			if lease.expires, err = t.common(r, doc); err != nil {
				return err
			}
			if own := parseLife(doc.Annotations[labelExpires]); own != nil {
				lease.expires = own
			}
		}
		if err := t.putManifest(r, d, doc, push.Content, lease, needs); err != nil {
			return err
		}
		if len(push.Tags) == 0 {
			return t.hold(r, d, doc, s.options.Hold.Milliseconds(), rules)
		}
		for _, tag := range push.Tags {
			if err := t.unmoved(r, tag, d, push.Was); err != nil {
				return err
			}
			if _, err := t.open(r, opening{name: tag, digest: d, verb: "overwrite"}, rules); err != nil {
				return err
			}
			if err := t.audit(r, actor, "push_repo", map[string]any{
				"user-agent": actor.Agent, "tag": tag, "mediaType": doc.MediaType,
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Pushed{}, err
	}
	return pushed, nil
}

// unmoved checks what a tag is before it is moved to d.
func (t *tx) unmoved(r *repository, tag string, d digest.Digest, was *digest.Digest) error {
	if was == nil {
		return nil
	}
	var now digest.Digest
	old, found, err := t.latest(r, tag)
	if err != nil {
		return err
	}
	if found && old.alive(r.now(t)) {
		now = old.digest
	}
	if now != d && now != *was {
		return fmt.Errorf("%w: %s is %s", ErrMoved, tag, cmp.Or(now, "absent"))
	}
	return nil
}

// need is what a manifest names.
type need struct {
	digest digest.Digest
	child  bool
	absent bool
}

// check finds out whether what a manifest names is there.
func (t *tx) check(r *repository, doc *document, rules Rules) ([]need, error) {
	var needs []need
	seen := make(map[digest.Digest]bool)
	var missing []error
	for _, b := range doc.blobs() {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		l, found, err := t.link(r, b.Digest)
		if err != nil {
			return nil, err
		}
		present := found && !l.hidden
		switch {
		case !present && !b.elsewhere():
			missing = append(missing, fmt.Errorf("%w: blob %s", ErrAbsent, b.Digest))
		case present && l.size != b.Size:
			return nil, fmt.Errorf("%w: it says that %s has %d bytes, and it has %d", ErrInvalid, b.Digest, b.Size, l.size)
		}
		needs = append(needs, need{digest: b.Digest, absent: !present})
	}
	clear(seen)
	for _, m := range doc.Manifests {
		if seen[m.Digest] {
			continue
		}
		seen[m.Digest] = true
		var size int64
		present, err := t.one(`SELECT size FROM manifests WHERE repository = ? AND digest = ? AND hidden = 0`, []any{r.id, m.Digest}, &size)
		if err != nil {
			return nil, err
		}
		switch {
		case !present && !rules.SparseLists:
			missing = append(missing, fmt.Errorf("%w: manifest %s", ErrAbsent, m.Digest))
		case present && size != m.Size:
			return nil, fmt.Errorf("%w: it says that %s has %d bytes, and it has %d", ErrInvalid, m.Digest, m.Size, size)
		}
		needs = append(needs, need{digest: m.Digest, child: true, absent: !present})
	}
	return needs, errors.Join(missing...)
}

// common returns the life that all images of a list give to their tags, or nil.
func (t *tx) common(r *repository, doc *document) (*int64, error) {
	var life *int64
	for i, m := range doc.Manifests {
		var own *int64
		found, err := t.one(`SELECT expires_after FROM manifests WHERE repository = ? AND digest = ?`, []any{r.id, m.Digest}, &own)
		if err != nil {
			return nil, err
		}
		if !found || own == nil || (i > 0 && *own != *life) {
			return nil, nil
		}
		life = own
	}
	return life, nil
}

// putManifest stores a manifest, or brings back one that was deleted.
func (t *tx) putManifest(r *repository, d digest.Digest, doc *document, content []byte, lease lease, needs []need) error {
	annotations, err := json.Marshal(doc.Annotations)
	if err != nil {
		return err
	}
	var subject *digest.Digest
	if doc.Subject != nil {
		subject = &doc.Subject.Digest
	}
	n, err := t.exec(`UPDATE manifests SET touched = ?, hidden = 0, media_type = ?, expires_after = ?, immutable = ?
		WHERE repository = ? AND digest = ?`, t.wall, doc.MediaType, lease.expires, lease.immutable, r.id, d)
	if err != nil {
		return err
	}
	if n == 0 {
		id, err := t.insert(`INSERT INTO manifests (repository, digest, media_type, size, list, layers, artifact_type,
			annotations, subject, expires_after, immutable, touched, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.id, d, doc.MediaType, len(content), doc.list, doc.layersSize(), doc.artifactType(),
			string(annotations), subject, lease.expires, lease.immutable, t.wall, content)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if _, err := t.exec(`INSERT INTO needs (repository, manifest, digest, child, absent) VALUES (?, ?, ?, ?, ?)`,
				r.id, id, need.digest, need.child, need.absent); err != nil {
				return err
			}
		}
	}
	return t.changed(r)
}

// hold keeps a manifest that was pushed without a tag for a while.
func (t *tx) hold(r *repository, d digest.Digest, doc *document, hold int64, rules Rules) error {
	if doc.Subject != nil {
		there, err := t.one(`SELECT 1 FROM manifests WHERE repository = ? AND digest = ?`, []any{r.id, doc.Subject.Digest}, new(int))
		if err != nil {
			return err
		}
		if !there {
			// Nothing will refer to it until its subject comes.
			hold = max(hold, rules.Window.Milliseconds())
		}
	}
	now, err := t.tick(r)
	if err != nil {
		return err
	}
	n, err := t.exec(`UPDATE tags SET ends = max(ends, ?) WHERE repository = ? AND digest = ? AND hidden = 1`, now+hold, r.id, d)
	if err != nil || n > 0 {
		return err
	}
	_, err = t.exec(`INSERT INTO tags (repository, number, name, digest, starts, ends, hidden) VALUES (?, ?, ?, ?, ?, ?, 1)`,
		r.id, r.changes, "$temp-"+d.String(), d, now, now+hold)
	return err
}

// ManifestByDigest returns a manifest of a repository, or ErrManifest.
func (s *Store) ManifestByDigest(ctx context.Context, repository string, d digest.Digest) (Manifest, error) {
	m, _, err := s.manifest(ctx, repository, d)
	return m, err
}

// PromiseManifest is ManifestByDigest for a client that may rely on the
// answer: what it returns stays for the time of the hold at least.
func (s *Store) PromiseManifest(ctx context.Context, repository string, d digest.Digest) (Manifest, error) {
	m, touched, err := s.manifest(ctx, repository, d)
	if err != nil || s.fresh(touched) {
		return m, err
	}
	err = s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		n, err := t.exec(`UPDATE manifests SET touched = ? WHERE repository = ? AND digest = ? AND hidden = 0`, t.wall, r.id, d)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: %s", ErrManifest, d)
		}
		return t.changed(r)
	})
	return m, err
}

func (s *Store) manifest(ctx context.Context, repository string, d digest.Digest) (m Manifest, touched int64, err error) {
	err = s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		m = Manifest{Digest: d}
		found, err := t.one(`SELECT media_type, size, touched, content FROM manifests WHERE repository = ? AND digest = ? AND hidden = 0`,
			[]any{r.id, d}, &m.MediaType, &m.Size, &touched, &m.Content)
		if err == nil && !found {
			err = fmt.Errorf("%w: %s", ErrManifest, d)
		}
		return err
	})
	return m, touched, err
}

// ReachableManifest returns a manifest that is alive: a tag means it, or a list
// that a tag means. Otherwise the error is ErrManifest.
func (s *Store) ReachableManifest(ctx context.Context, repository string, d digest.Digest) (Manifest, error) {
	err := s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		reachable, err := t.reachable(r, d)
		if err == nil && !reachable {
			err = fmt.Errorf("%w: %s", ErrManifest, d)
		}
		return err
	})
	if err != nil {
		return Manifest{}, err
	}
	return s.ManifestByDigest(ctx, repository, d)
}

// ManifestByTag returns what a tag means now, or ErrTag, or ErrTagExpired if it
// once meant something.
func (s *Store) ManifestByTag(ctx context.Context, repository, tag string) (Manifest, error) {
	var m Manifest
	err := s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		row, found, err := t.latest(r, tag)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: %s", ErrTag, tag)
		}
		if !row.alive(r.now(t)) {
			return fmt.Errorf("%w: %s", ErrTagExpired, tag)
		}
		m = Manifest{Digest: row.digest}
		found, err = t.one(`SELECT media_type, size, content FROM manifests WHERE repository = ? AND digest = ? AND hidden = 0`,
			[]any{r.id, row.digest}, &m.MediaType, &m.Size, &m.Content)
		if err == nil && !found {
			err = fmt.Errorf("%w: %s", ErrManifest, row.digest)
		}
		return err
	})
	return m, err
}

// DeleteManifest takes a manifest away and ends the tags that name it, all or
// nothing. While a row of the history names it, it can be restored. The error
// may be ErrManifest, ErrImmutable, or ErrInUse if a list names it.
func (s *Store) DeleteManifest(ctx context.Context, repository string, d digest.Digest, actor Actor) error {
	return s.update(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		var id int64
		found, err := t.one(`SELECT id FROM manifests WHERE repository = ? AND digest = ? AND hidden = 0`, []any{r.id, d}, &id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: %s", ErrManifest, d)
		}
		var user string
		used, err := t.one(`SELECT m.digest FROM needs n JOIN manifests m ON m.id = n.manifest
			WHERE n.repository = ? AND n.digest = ? AND n.child = 1 AND m.hidden = 0 LIMIT 1`, []any{r.id, d}, &user)
		if err != nil {
			return err
		}
		if used {
			return fmt.Errorf("%w: manifest %s is part of list %s; delete that first", ErrInUse, d, user)
		}
		now, err := t.tick(r)
		if err != nil {
			return err
		}
		tags, err := t.texts(`SELECT name FROM tags WHERE repository = ? AND digest = ? AND hidden = 0 AND (ends IS NULL OR ends > ?)`, r.id, d, now)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			row, _, err := t.latest(r, tag)
			if err != nil {
				return err
			}
			if err := t.end(r, row, now, "delete"); err != nil {
				return err
			}
			if err := t.audit(r, actor, "delete_tag", map[string]any{"user-agent": actor.Agent, "tag": tag, "digest": d}); err != nil {
				return err
			}
		}
		if err := t.companions(r, d, now); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE tags INDEXED BY tags_by_digest SET ends = ?
			WHERE repository = ? AND digest = ? AND hidden = 1 AND ends > ?`, now, r.id, d, now); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE manifests SET hidden = 1, touched = 0 WHERE id = ?`, id)
		return err
	})
}
