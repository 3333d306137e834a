package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Lock implements core.Locks.
func (s *Store) Lock(ctx context.Context, name string, claim core.Claim) error {
	err := s.write(ctx, func(t *tx) error {
		g, err := t.lock(claim.Request)
		if err != nil {
			return err
		}
		if err := g.holds(claim); err != nil {
			return err
		}
		// An update that changes nothing locks the row of whoever holds the name
		// and tells who that is. Two statements would have a gap between them.
		var holder core.Claim
		err = t.row(`INSERT INTO locks (name, request, epoch) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING request, epoch`,
			text(name), claim.Request, claim.Epoch).Scan(&holder.Request, &holder.Epoch)
		if err != nil {
			return err
		}
		if holder.Request == claim.Request && holder.Epoch == claim.Epoch {
			return nil
		}
		alive, err := s.alive(t, holder)
		if err != nil {
			return err
		}
		if alive {
			return sdk.Errorf(sdk.Conflict, "the lock of %s is held by request %d", name, holder.Request)
		}
		return t.exec(`UPDATE locks SET request = $1, epoch = $2 WHERE name = $3`, claim.Request, claim.Epoch, text(name))
	})
	return s.fault(err, "lock %s", name)
}

// alive reports whether a lock's holder is still under the claim that took it.
// It reads without locking: a claim that ends meanwhile frees the name for the
// next try.
func (s *Store) alive(t *tx, holder core.Claim) (bool, error) {
	var worker string
	var b beat
	var lease int64
	err := t.row(`SELECT worker, epoch, beat, lease FROM runs WHERE request = $1`, holder.Request).
		Scan(&worker, &b.epoch, &b.count, &lease)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil || worker == "" || b.epoch != holder.Epoch {
		return false, err
	}
	return !s.watch.saw(holder.Request, b, time.Duration(lease)*time.Microsecond), nil
}

// Unlock implements core.Locks.
func (s *Store) Unlock(ctx context.Context, name string, claim core.Claim) error {
	err := s.write(ctx, func(t *tx) error {
		return t.exec(`DELETE FROM locks WHERE name = $1 AND request = $2 AND epoch = $3`, text(name), claim.Request, claim.Epoch)
	})
	return s.fault(err, "unlock %s", name)
}
