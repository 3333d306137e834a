package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// holder is who has the turn at a notifier.
type holder struct {
	worker string
	beat   beat
	lease  time.Duration
}

// notifier locks a notifier and returns who has the turn, nil if the notifier
// is not known.
func (t *tx) notifier(name string) (*holder, error) {
	var h holder
	var lease int64
	err := t.row(`SELECT worker, epoch, beat, lease FROM notifiers WHERE name = $1`+t.d.forUpdate, name).
		Scan(&h.worker, &h.beat.epoch, &h.beat.count, &lease)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	h.lease = time.Duration(lease) * time.Microsecond
	return &h, err
}

// checkTurn locks a notifier and returns a Conflict error unless the turn is
// the one in force.
func (t *tx) checkTurn(turn core.Turn) error {
	h, err := t.notifier(turn.Notifier)
	if err != nil {
		return err
	}
	if h == nil || h.worker == "" || h.worker != turn.Worker || h.beat.epoch != turn.Epoch {
		return sdk.Errorf(sdk.Conflict, "worker %s has lost its turn %d at notifier %s", turn.Worker, turn.Epoch, turn.Notifier)
	}
	return nil
}

// TakeTurn implements core.Deliveries.
func (s *Store) TakeTurn(ctx context.Context, notifier, worker string, lease time.Duration) (core.Turn, error) {
	notifier, worker = text(notifier), text(worker)
	if notifier == "" || worker == "" || lease <= 0 {
		return core.Turn{}, sdk.Errorf(sdk.Internal, "take a turn at notifier %q: it takes two names and a lease", notifier)
	}
	var b beat
	err := s.write(ctx, func(t *tx) error {
		// A new one begins after the last event.
		err := t.exec(`INSERT INTO notifiers (name, cursor, epoch, worker, beat, lease, expires, delivered, failed, error)
			SELECT $1, value, 0, '', 0, 0, 0, 0, 0, '' FROM counters WHERE name = 'event'
			ON CONFLICT DO NOTHING`, notifier)
		if err != nil {
			return err
		}
		h, err := t.notifier(notifier)
		if err != nil {
			return err
		}
		if h == nil {
			return sdk.Errorf(sdk.Conflict, "notifier %s was forgotten just now", notifier)
		}
		if h.worker != "" && !s.turns.saw(notifier, h.beat, h.lease) {
			return sdk.Errorf(sdk.Conflict, "worker %s has the turn at notifier %s", h.worker, notifier)
		}
		b = beat{epoch: h.beat.epoch + 1, count: h.beat.count + 1}
		return t.exec(`UPDATE notifiers SET worker = $1, epoch = $2, beat = $3, lease = $4, expires = $5 WHERE name = $6`,
			worker, b.epoch, b.count, lease.Microseconds(), micros(t.now.Add(lease)), notifier)
	})
	if err != nil {
		return core.Turn{}, s.fault(err, "take a turn at notifier %s", notifier)
	}
	s.turns.saw(notifier, b, lease)
	return core.Turn{Notifier: notifier, Worker: worker, Epoch: b.epoch}, nil
}

// KeepTurn implements core.Deliveries.
func (s *Store) KeepTurn(ctx context.Context, turn core.Turn, lease time.Duration) error {
	err := s.write(ctx, func(t *tx) error {
		if err := t.checkTurn(turn); err != nil {
			return err
		}
		return t.exec(`UPDATE notifiers SET beat = beat + 1, lease = $1, expires = $2 WHERE name = $3`,
			lease.Microseconds(), micros(t.now.Add(lease)), turn.Notifier)
	})
	return s.fault(err, "keep the turn at notifier %s", turn.Notifier)
}

// EndTurn implements core.Deliveries.
func (s *Store) EndTurn(ctx context.Context, turn core.Turn) error {
	err := s.write(ctx, func(t *tx) error {
		if err := t.checkTurn(turn); err != nil {
			return err
		}
		return t.exec(`UPDATE notifiers SET worker = '', lease = 0, expires = 0 WHERE name = $1`, turn.Notifier)
	})
	return s.fault(err, "end the turn at notifier %s", turn.Notifier)
}
