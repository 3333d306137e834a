package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/iib-engine/iib/core"
)

// standings counts what has not ended, by queue.
const standings = `SELECT r.queue,
		sum(CASE WHEN c.worker <> '' THEN 1 ELSE 0 END),
		sum(CASE WHEN c.worker = '' THEN 1 ELSE 0 END),
		sum(CASE WHEN c.worker = '' AND NOT (c.released <= $1 AND c.not_before > $1) AND ` + laneHead + ` THEN 1 ELSE 0 END)
	FROM runs c JOIN requests r ON r.id = c.request WHERE c.open GROUP BY r.queue ORDER BY r.queue`

// Queues implements core.Queues.
func (s *Store) Queues(ctx context.Context) ([]core.QueueStanding, error) {
	var found []core.QueueStanding
	err := s.read(ctx, func(t *tx) error {
		found = nil
		err := t.each(func(rows *sql.Rows) error {
			var q core.QueueStanding
			err := rows.Scan(&q.Name, &q.Running, &q.Waiting, &q.Ready)
			found = append(found, q)
			return err
		}, standings, micros(t.now))
		if err != nil {
			return err
		}
		found, err = t.addPauses(found)
		return err
	})
	return found, s.fault(err, "count the requests of the queues")
}

// Recover implements core.Queues.
func (s *Store) Recover(ctx context.Context) error {
	s.watch.prune()
	var runs []heldRun
	var lost []string
	err := s.read(ctx, func(t *tx) (err error) {
		if runs, err = t.held(); err != nil {
			return err
		}
		lost, err = t.unknownUsers()
		return err
	})
	if err != nil {
		return s.fault(err, "look for dead workers")
	}
	for _, run := range runs {
		if !s.watch.saw(run.request, run.beat, run.lease) {
			continue
		}
		if err := s.takeAway(ctx, run); err != nil {
			return s.fault(err, "take request %d from a dead worker", run.request)
		}
	}
	for _, queue := range lost {
		err := s.write(ctx, func(t *tx) error {
			return t.exec(`INSERT INTO shares (queue, submitter, served, since, waiting)
				SELECT queue, submitter, 0, min(id), true FROM requests WHERE state = 'in_progress' AND queue = $1
					GROUP BY queue, submitter ORDER BY submitter
				ON CONFLICT (queue, submitter) DO UPDATE SET waiting = true`, queue)
		})
		if err != nil {
			return s.fault(err, "look for the users of queue %s", queue)
		}
	}
	return nil
}

// unknownUsers returns the queues in which requests wait and no user is known to
// have any. It is what a process of an older version leaves, which runs for a
// while beside those of this one: it stores requests and tells nothing of users.
func (t *tx) unknownUsers() ([]string, error) {
	var queues []string
	err := t.each(func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		queues = append(queues, name)
		return err
	}, `WITH RECURSIVE q (name) AS (
			SELECT (SELECT min(queue) FROM requests WHERE state = 'in_progress')
			UNION ALL
			SELECT (SELECT min(r.queue) FROM requests r WHERE r.state = 'in_progress' AND r.queue > q.name) FROM q WHERE q.name IS NOT NULL)
		SELECT name FROM q WHERE name IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM shares s WHERE s.queue = q.name AND s.waiting)
			AND EXISTS (SELECT 1 FROM requests r JOIN runs c ON c.request = r.id
				WHERE r.queue = q.name AND r.state = 'in_progress' AND c.worker = '' AND `+laneHead+`)`)
	return queues, err
}

// heldRun is a request that has a worker.
type heldRun struct {
	request                int64
	queue, submitter, lane string
	beat                   beat
	lease                  time.Duration
}

func (t *tx) held() ([]heldRun, error) {
	var runs []heldRun
	err := t.each(func(rows *sql.Rows) error {
		var run heldRun
		var lease int64
		err := rows.Scan(&run.request, &run.queue, &run.submitter, &run.lane, &run.beat.epoch, &run.beat.count, &lease)
		run.lease = time.Duration(lease) * time.Microsecond
		runs = append(runs, run)
		return err
	}, heldRuns)
	return runs, err
}

// takeAway ends a dead claim, unless it has come to life.
func (s *Store) takeAway(ctx context.Context, run heldRun) error {
	taken := false
	err := s.write(ctx, func(t *tx) (err error) {
		taken, err = t.affect(`UPDATE runs SET takeovers = takeovers + 1, worker = '', lease = 0, expires = 0
			WHERE request = $1 AND epoch = $2 AND beat = $3 AND worker <> '' AND open`, run.request, run.beat.epoch, run.beat.count)
		if err != nil || !taken {
			return err
		}
		if err := t.waits(run.queue, run.submitter, run.request); err != nil {
			return err
		}
		return t.laneWaits(run.lane)
	})
	if taken {
		s.watch.forget(run.request)
	}
	return err
}
