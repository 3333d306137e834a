package store

import (
	"fmt"
	"math"

	"github.com/opencontainers/go-digest"
)

// row is a row of the history within a transaction.
type row struct {
	id        int64
	name      string
	digest    digest.Digest
	starts    int64
	ends      *int64
	immutable bool
}

func (r *row) alive(now int64) bool { return r.ends == nil || *r.ends > now }

// latest returns the last row of a name: if any row of the name is alive, it is
// this one.
func (t *tx) latest(r *repository, name string) (*row, bool, error) {
	found := &row{name: name}
	ok, err := t.one(`SELECT id, digest, starts, ends, immutable FROM tags
		WHERE repository = ? AND name = ? AND hidden = 0 ORDER BY number DESC LIMIT 1`,
		[]any{r.id, name}, &found.id, &found.digest, &found.starts, &found.ends, &found.immutable)
	return found, ok, err
}

// living returns the row of a name that is alive, or ErrTag.
func (t *tx) living(r *repository, name string) (*row, error) {
	row, found, err := t.latest(r, name)
	if err != nil {
		return nil, err
	}
	if !found || !row.alive(r.now(t)) {
		return nil, fmt.Errorf("%w: %s", ErrTag, name)
	}
	return row, nil
}

// opening says how a row comes to be.
type opening struct {
	name      string
	digest    digest.Digest
	reversion bool
	// verb is what cannot be done to an immutable tag.
	verb string
}

// open begins a period in which a name means a manifest, at the moment that
// ends the one before. It returns the row that was displaced, or nil.
func (t *tx) open(r *repository, o opening, rules Rules) (*row, error) {
	old, found, err := t.latest(r, o.name)
	if err != nil {
		return nil, err
	}
	displaced := found && old.alive(r.now(t))
	now, err := t.tick(r)
	if err != nil {
		return nil, err
	}
	if displaced {
		if err := t.end(r, old, now, o.verb); err != nil {
			return nil, err
		}
	}
	var life *int64
	var immutable bool
	ok, err := t.one(`SELECT expires_after, immutable FROM manifests WHERE repository = ? AND digest = ?`,
		[]any{r.id, o.digest}, &life, &immutable)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrManifest, o.digest)
	}
	byRule := rules.Immutable != nil && rules.Immutable.MatchString(o.name)
	immutable = immutable || byRule
	var ends *int64
	if life != nil && !immutable && *life < math.MaxInt64-now {
		at := now + *life
		ends = &at
	}
	if _, err := t.exec(`INSERT INTO tags (repository, number, name, digest, starts, ends, reversion, immutable) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		r.id, r.changes, o.name, o.digest, now, ends, o.reversion, immutable); err != nil {
		return nil, err
	}
	if byRule {
		if err := t.audit(r, Actor{}, "tag_made_immutable_by_policy", map[string]any{"tag": o.name, "immutable": true}); err != nil {
			return nil, err
		}
	}
	if !displaced {
		return nil, nil
	}
	if old.digest != o.digest {
		err = t.companions(r, old.digest, now)
	}
	return old, err
}

// end ends a row that is alive, or returns ErrImmutable. verb is what it
// stands in the way of.
func (t *tx) end(r *repository, row *row, now int64, verb string) error {
	if row.immutable {
		return &ImmutableError{Tag: row.name, Operation: verb}
	}
	_, err := t.exec(`UPDATE tags SET ends = ? WHERE id = ?`, now, row.id)
	return err
}

// companions ends the tags by which cosign attaches a signature, an attestation
// and a bill of materials to a manifest, once no tag means that manifest.
func (t *tx) companions(r *repository, d digest.Digest, now int64) error {
	if d.Algorithm() != digest.SHA256 {
		return nil
	}
	kept, err := t.one(`SELECT 1 FROM tags WHERE repository = ? AND digest = ? AND hidden = 0 AND (ends IS NULL OR ends > ?) LIMIT 1`,
		[]any{r.id, d, now}, new(int))
	if err != nil || kept {
		return err
	}
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		row, found, err := t.latest(r, "sha256-"+d.Encoded()+suffix)
		if err != nil {
			return err
		}
		if found && row.alive(now) && !row.immutable {
			if err := t.end(r, row, now, "delete"); err != nil {
				return err
			}
		}
	}
	return nil
}
