package store

import (
	"context"
	"database/sql"
	"slices"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// maxWaiting is how many events may wait for one notifier before no new ones
// are taken in. The rest wait in the outbox, where they cost nothing.
const maxWaiting = 2_000

// Due implements core.Deliveries.
func (s *Store) Due(ctx context.Context, turn core.Turn, limit int) ([]core.Delivery, error) {
	var due []core.Delivery
	err := s.write(ctx, func(t *tx) error {
		due = nil
		if limit <= 0 {
			return nil
		}
		if err := t.checkTurn(turn); err != nil {
			return err
		}
		found, err := t.due(turn, limit)
		if err != nil {
			return err
		}
		if len(found) < limit {
			taken, err := t.takeIn(turn.Notifier, limit-len(found))
			if err != nil {
				return err
			}
			if taken {
				if found, err = t.due(turn, limit); err != nil {
					return err
				}
			}
		}
		due, err = t.handOut(turn, found)
		return err
	})
	if err != nil {
		return nil, s.fault(err, "read what is due for notifier %s", turn.Notifier)
	}
	return due, nil
}

// dueDelivery is a row of deliveries that nothing holds up.
type dueDelivery struct {
	sequence int64
	attempts int
}

// due returns the rows that are free, oldest first: those that wait for nothing
// and of whose batch no earlier one waits and none is in hand. Where a batch
// stops is found in one pass over the rows and not row by row, so that many
// that wait cost little. A row of a kind that this program does not know waits
// for a newer one to have the turn, and holds up none of its batch.
func (t *tx) due(turn core.Turn, limit int) ([]dueDelivery, error) {
	var found []dueDelivery
	err := t.each(func(rows *sql.Rows) error {
		var d dueDelivery
		err := rows.Scan(&d.sequence, &d.attempts)
		found = append(found, d)
		return err
	}, `SELECT d.sequence, d.attempts FROM deliveries d JOIN events e ON e.sequence = d.sequence LEFT JOIN (
			SELECT batch, min(CASE WHEN hand = $1 THEN 0 ELSE sequence END) AS sequence FROM deliveries
			WHERE notifier = $2 AND NOT parked AND (hand = $1 OR tried <= $3 AND $3 < not_before) GROUP BY batch
		) stop ON stop.batch = d.batch
		WHERE d.notifier = $2 AND NOT d.parked AND e.kind IN (`+notified+`) AND (stop.sequence IS NULL OR d.sequence < stop.sequence)
		ORDER BY d.sequence LIMIT $4`, turn.Epoch, turn.Notifier, micros(t.now), limit)
	return found, err
}

// takeIn makes rows of the events after the cursor, and reports whether there
// were any.
func (t *tx) takeIn(notifier string, limit int) (bool, error) {
	var waiting int
	err := t.row(`SELECT count(*) FROM deliveries WHERE notifier = $1 AND NOT parked`, notifier).Scan(&waiting)
	if err != nil || waiting >= maxWaiting {
		return false, err
	}
	var last sql.NullInt64
	err = t.row(`SELECT max(e.sequence) FROM (
			SELECT sequence FROM events WHERE sequence > (SELECT cursor FROM notifiers WHERE name = $1)
			ORDER BY sequence LIMIT $2) e`, notifier, limit).Scan(&last)
	if err != nil || !last.Valid {
		return false, err
	}
	err = t.exec(`INSERT INTO deliveries (notifier, sequence, batch, hand, attempts, parked, tried, not_before, error)
		SELECT n.name, e.sequence, e.batch, 0, 0, CAST(0 AS BOOLEAN), 0, 0, '' FROM notifiers n JOIN events e ON e.sequence > n.cursor
		WHERE n.name = $1 AND e.sequence <= $2 AND e.kind IN (`+notified+`)
		ON CONFLICT DO NOTHING`, notifier, last.Int64)
	if err != nil {
		return false, err
	}
	return true, t.exec(`UPDATE notifiers SET cursor = $1 WHERE name = $2`, last.Int64, notifier)
}

// handOut puts rows in hand and returns their events.
func (t *tx) handOut(turn core.Turn, found []dueDelivery) ([]core.Delivery, error) {
	var due []core.Delivery
	for some := range slices.Chunk(found, inList) {
		var sequences []int64
		for _, d := range some {
			sequences = append(sequences, d.sequence)
			err := t.exec(`UPDATE deliveries SET hand = $1, attempts = attempts + 1 WHERE notifier = $2 AND sequence = $3`,
				turn.Epoch, turn.Notifier, d.sequence)
			if err != nil {
				return nil, err
			}
		}
		list, args := in(sequences)
		events, err := t.events(`e.sequence IN (`+list+`) ORDER BY e.sequence`, args...)
		if err != nil {
			return nil, err
		}
		for i, e := range events {
			due = append(due, core.Delivery{Event: e, Attempt: some[i].attempts + 1})
		}
	}
	return due, nil
}

// Settle implements core.Deliveries.
func (s *Store) Settle(ctx context.Context, turn core.Turn, outcomes []core.Outcome) error {
	err := s.write(ctx, func(t *tx) error {
		if err := t.checkTurn(turn); err != nil {
			return err
		}
		for _, o := range outcomes {
			if err := t.settle(turn, o); err != nil {
				return err
			}
		}
		return nil
	})
	return s.fault(err, "settle deliveries to notifier %s", turn.Notifier)
}

func (t *tx) settle(turn core.Turn, o core.Outcome) error {
	back := 0
	if o.Uncounted {
		back = 1
	}
	if o.Error == "" && !o.Uncounted && !o.Park {
		taken, err := t.affect(`DELETE FROM deliveries WHERE notifier = $1 AND sequence = $2 AND hand = $3`,
			turn.Notifier, o.Sequence, turn.Epoch)
		if err != nil || !taken {
			return err
		}
		return t.exec(`UPDATE notifiers SET delivered = $1 WHERE name = $2`, micros(t.now), turn.Notifier)
	}
	settled, err := t.affect(`UPDATE deliveries SET hand = 0, attempts = attempts - $1, parked = $2, tried = $3, not_before = $4,
			error = CASE WHEN $5 = '' THEN error ELSE $5 END
		WHERE notifier = $6 AND sequence = $7 AND hand = $8`,
		back, o.Park, micros(t.now), micros(t.now.Add(max(0, o.Retry))), text(o.Error), turn.Notifier, o.Sequence, turn.Epoch)
	if err != nil || !settled || o.Error == "" {
		return err
	}
	return t.exec(`UPDATE notifiers SET failed = $1, error = $2 WHERE name = $3`, micros(t.now), text(o.Error), turn.Notifier)
}

// Undelivered implements core.Deliveries.
func (s *Store) Undelivered(ctx context.Context, notifier string, after int64, limit int) ([]core.Undelivered, error) {
	var found []core.Undelivered
	err := s.read(ctx, func(t *tx) error {
		return t.each(func(rows *sql.Rows) error {
			var u core.Undelivered
			var request sql.NullInt64
			var tried, notBefore int64
			err := rows.Scan(&u.Sequence, &u.Kind, &request, &u.Batch, &u.State, &u.Attempts, &u.Error, &u.Parked, &tried, &notBefore)
			u.Request = request.Int64
			if !u.Parked && wait(tried, notBefore, t.now) > 0 {
				u.NotBefore = moment(notBefore)
			}
			found = append(found, u)
			return err
		}, `SELECT d.sequence, e.kind, e.request, e.batch, e.state, d.attempts, d.error, d.parked, d.tried, d.not_before
			FROM deliveries d JOIN events e ON e.sequence = d.sequence
			WHERE d.notifier = $1 AND d.sequence > $2 AND (d.parked OR d.tried > 0)
			ORDER BY d.sequence LIMIT $3`, text(notifier), after, limit)
	})
	if err != nil {
		return nil, s.fault(err, "list what notifier %s has not taken", notifier)
	}
	return found, nil
}

// Replay implements core.Deliveries.
func (s *Store) Replay(ctx context.Context, notifier string, r core.Replay) (int64, error) {
	var count int64
	err := s.write(ctx, func(t *tx) error {
		// Like a turn's calls, so that both do not write the same rows at once.
		n, err := t.notifier(text(notifier))
		if err != nil {
			return err
		}
		if n == nil {
			return sdk.Errorf(sdk.NotFound, "notifier %q is not known here", notifier)
		}
		count, err = t.replay(text(notifier), r)
		return err
	})
	if err != nil {
		return 0, s.fault(err, "replay events to notifier %s", notifier)
	}
	return count, nil
}

// chosen is the condition for the events of a replay. What is not delivered and
// not parked is left alone: it comes by itself.
const chosen = ` FROM notifiers n JOIN events e ON e.sequence <= n.cursor
	LEFT JOIN deliveries d ON d.notifier = n.name AND d.sequence = e.sequence
	WHERE n.name = $1 AND e.kind IN (` + notified + `) AND e.sequence >= $2 AND e.sequence <= $3
		AND (CAST($4 AS BIGINT) = 0 OR e.request = CAST($4 AS BIGINT)) AND (CAST($5 AS BIGINT) = 0 OR e.batch = CAST($5 AS BIGINT))
		AND (d.parked OR d.sequence IS NULL AND NOT $6)`

func (t *tx) replay(notifier string, r core.Replay) (int64, error) {
	to := r.To
	if to == 0 {
		to = 1<<63 - 1
	}
	args := []any{notifier, r.From, to, r.Request, r.Batch, r.Parked}
	var count int64
	if err := t.row(`SELECT count(*)`+chosen, args...).Scan(&count); err != nil {
		return 0, err
	}
	if count > core.MaxReplay {
		return 0, sdk.Errorf(sdk.Invalid, "%d events are too many to replay at once: choose at most %d", count, core.MaxReplay)
	}
	return count, t.exec(`INSERT INTO deliveries (notifier, sequence, batch, hand, attempts, parked, tried, not_before, error)
		SELECT n.name, e.sequence, e.batch, 0, 0, CAST(0 AS BOOLEAN), 0, 0, ''`+chosen+`
		ON CONFLICT (notifier, sequence) DO UPDATE SET attempts = 0, parked = CAST(0 AS BOOLEAN), tried = 0, not_before = 0, error = ''`,
		args...)
}

// Unsubscribe implements core.Deliveries.
func (s *Store) Unsubscribe(ctx context.Context, notifier string) error {
	err := s.write(ctx, func(t *tx) error {
		if _, err := t.notifier(text(notifier)); err != nil {
			return err
		}
		if err := t.exec(`DELETE FROM deliveries WHERE notifier = $1`, text(notifier)); err != nil {
			return err
		}
		return t.exec(`DELETE FROM notifiers WHERE name = $1`, text(notifier))
	})
	return s.fault(err, "forget notifier %s", notifier)
}

// Subscriptions implements core.Deliveries.
func (s *Store) Subscriptions(ctx context.Context) ([]core.Subscription, error) {
	var all []core.Subscription
	err := s.read(ctx, func(t *tx) error {
		return t.each(func(rows *sql.Rows) error {
			var n core.Subscription
			var expires, delivered, failed int64
			err := rows.Scan(&n.Notifier, &n.Worker, &expires, &delivered, &failed, &n.Error, &n.Behind, &n.Waiting, &n.Parked)
			if n.Worker != "" {
				n.Lease = moment(expires)
			}
			n.Delivered, n.Failed = moment(delivered), moment(failed)
			all = append(all, n)
			return err
		}, `SELECT n.name, n.worker, n.expires, n.delivered, n.failed, n.error,
				(SELECT value FROM counters WHERE name = 'event') - n.cursor,
				(SELECT count(*) FROM deliveries d WHERE d.notifier = n.name AND NOT d.parked),
				(SELECT count(*) FROM deliveries d WHERE d.notifier = n.name AND d.parked)
			FROM notifiers n ORDER BY n.name`)
	})
	if err != nil {
		return nil, s.fault(err, "list the notifiers")
	}
	return all, nil
}
