package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/iib-engine/iib/core"
)

// Pause implements core.Queues. It waits for whoever is taking a request just
// then, and whoever comes after it finds the queue paused.
func (s *Store) Pause(ctx context.Context, queue, by, reason string) error {
	return s.setPause(ctx, queue, core.Pause{By: by, Reason: reason, Since: s.moment()})
}

// Resume implements core.Queues.
func (s *Store) Resume(ctx context.Context, queue string) error {
	return s.setPause(ctx, queue, core.Pause{})
}

func (s *Store) setPause(ctx context.Context, queue string, p core.Pause) error {
	queue = text(queue)
	err := s.write(ctx, func(t *tx) error {
		return t.exec(`INSERT INTO queues (name, served, paused, paused_by, pause_reason) VALUES ($1, 0, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, paused_by = excluded.paused_by,
				pause_reason = excluded.pause_reason`, queue, micros(p.Since), text(p.By), text(p.Reason))
	})
	return s.fault(err, "pause or resume queue %s", queue)
}

// addPauses completes standings by what is paused, also where nothing waits.
func (t *tx) addPauses(queues []core.QueueStanding) ([]core.QueueStanding, error) {
	err := t.each(func(rows *sql.Rows) error {
		var name string
		var p core.Pause
		var since int64
		if err := rows.Scan(&name, &since, &p.By, &p.Reason); err != nil {
			return err
		}
		p.Since = moment(since)
		i := slices.IndexFunc(queues, func(q core.QueueStanding) bool { return q.Name == name })
		if i < 0 {
			i, queues = len(queues), append(queues, core.QueueStanding{Name: name})
		}
		queues[i].Pause, queues[i].Ready = &p, 0
		return nil
	}, `SELECT name, paused, paused_by, pause_reason FROM queues WHERE paused <> 0`)
	slices.SortFunc(queues, func(a, b core.QueueStanding) int { return cmp.Compare(a.Name, b.Name) })
	return queues, err
}
