package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// share is a user's part in a queue.
type share struct {
	queue, submitter string
	served, since    int64
}

// sharesPage is how many users one query looks at; mostly the first has the turn.
const sharesPage = 64

// laneHead holds for a run c that no other request of its lane has to end before.
const laneHead = `(c.lane = '' OR NOT EXISTS (
	SELECT 1 FROM runs b WHERE b.open AND b.lane <> '' AND b.lane = c.lane AND b.request <> c.request
		AND (b.request < c.request OR b.worker <> '')))`

// anyShare tells whether somebody may have a request that can be taken.
const anyShare = `SELECT 1 FROM shares WHERE queue = $1 AND waiting ORDER BY served, since, submitter LIMIT 1`

// nextShares are a page of the users in whose turn it is, without those who have
// nothing.
const nextShares = `SELECT submitter, served, since FROM shares
	WHERE queue = $1 AND waiting AND (served, since, submitter) > ($2, $3, $4)
	ORDER BY served, since, submitter LIMIT $5`

// heldRuns are the requests that have a worker, of all queues: there are no more
// than the workers have slots.
const heldRuns = `SELECT c.request, r.queue, r.submitter, c.lane, c.epoch, c.beat, c.lease
	FROM runs c JOIN requests r ON r.id = c.request WHERE c.open AND c.worker <> ''`

// openRuns are a user's requests in a queue that nobody has and whose turn in
// their lane it is.
const openRuns = ` FROM requests r JOIN runs c ON c.request = r.id
	WHERE r.queue = $1 AND r.submitter = $2 AND r.state = 'in_progress' AND c.worker = '' AND ` + laneHead

// nextRun is the oldest of them whose pause is over. A pause counts only from its
// beginning on, as in wait.
const nextRun = `SELECT r.id` + openRuns + ` AND NOT (c.released <= $3 AND c.not_before > $3) ORDER BY r.id LIMIT 1`

// ClaimNext implements core.Claims.
func (s *Store) ClaimNext(ctx context.Context, queue, worker string, lease time.Duration) (*core.Request, core.Claim, error) {
	queue, worker = text(queue), text(worker)
	if worker == "" || lease <= 0 {
		return nil, core.Claim{}, sdk.Errorf(sdk.Internal, "claim the next request of queue %s: it takes a worker's name and a lease", queue)
	}
	// Surplus hints are usual, and a read is in nobody's way.
	some := false
	err := s.read(ctx, func(t *tx) (err error) {
		some, err = t.has(anyShare, queue)
		return err
	})
	if err != nil {
		return nil, core.Claim{}, s.fault(err, "look into queue %s", queue)
	}
	var r *core.Request
	var b beat
	if some {
		err = s.write(ctx, func(t *tx) error {
			r = nil
			paused, err := t.lockQueue(queue)
			if err != nil || paused {
				return err
			}
			g, err := t.choose(s, queue)
			if err != nil || g == nil {
				// What was found out about users who have nothing is kept.
				return err
			}
			if r, b, err = t.take(g, worker, lease); err != nil {
				return err
			}
			return t.served(queue, r.User)
		})
	}
	if err != nil {
		return nil, core.Claim{}, s.fault(err, "claim the next request of queue %s", queue)
	}
	if r == nil {
		return nil, core.Claim{}, sdk.Errorf(sdk.NotFound, "nothing waits in queue %s", queue)
	}
	s.watch.saw(r.ID, b, lease)
	return r, core.Claim{Request: r.ID, Worker: worker, Epoch: b.epoch}, nil
}

// has reports whether a query finds anything.
func (t *tx) has(query string, args ...any) (bool, error) {
	var one int
	err := t.row(query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// lockQueue keeps others from taking requests of a queue until the transaction
// ends: two who choose at once would choose the same, or two of one user. It
// reports whether the queue is paused.
func (t *tx) lockQueue(queue string) (paused bool, err error) {
	const lock = `SELECT paused <> 0 FROM queues WHERE name = $1`
	err = t.row(lock+t.d.forUpdate, queue).Scan(&paused)
	if !errors.Is(err, sql.ErrNoRows) {
		return paused, err
	}
	if err := t.exec(`INSERT INTO queues (name, served) VALUES ($1, 0) ON CONFLICT DO NOTHING`, queue); err != nil {
		return false, err
	}
	err = t.row(lock+t.d.forUpdate, queue).Scan(&paused)
	return paused, err
}

// choose returns the request that is to be taken next from a locked queue,
// locked too, or nil.
func (t *tx) choose(s *Store, queue string) (*target, error) {
	running, err := t.running(queue)
	if err != nil {
		return nil, err
	}
	var busy []share
	last := share{served: -1}
	for {
		page, err := t.shares(queue, last)
		if err != nil {
			return nil, err
		}
		for _, u := range page {
			if running[u.submitter] > 0 {
				busy = append(busy, u)
				continue
			}
			if g, err := t.oldest(s, u); err != nil || g != nil {
				return g, err
			}
		}
		if len(page) < sharesPage {
			break
		}
		last = page[len(page)-1]
	}
	slices.SortStableFunc(busy, func(a, b share) int { return cmp.Compare(running[a.submitter], running[b.submitter]) })
	for _, u := range busy {
		if g, err := t.oldest(s, u); err != nil || g != nil {
			return g, err
		}
	}
	return nil, nil
}

// running counts the requests that run in a queue, by user.
func (t *tx) running(queue string) (map[string]int, error) {
	runs, err := t.held()
	count := make(map[string]int)
	for _, run := range runs {
		if run.queue == queue {
			count[run.submitter]++
		}
	}
	return count, err
}

func (t *tx) shares(queue string, last share) ([]share, error) {
	var page []share
	err := t.each(func(rows *sql.Rows) error {
		u := share{queue: queue}
		err := rows.Scan(&u.submitter, &u.served, &u.since)
		page = append(page, u)
		return err
	}, nextShares, queue, last.served, last.since, last.submitter, sharesPage)
	return page, err
}

// oldest returns a user's request that comes next, locked, or nil; a user who has
// none is not asked again before that changes. It waits for nobody: whoever has
// the request locked may wait for this transaction.
func (t *tx) oldest(s *Store, u share) (*target, error) {
	var id int64
	err := t.row(nextRun, u.queue, u.submitter, micros(t.now)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, t.rest(u)
	}
	if err != nil {
		return nil, err
	}
	locked, err := t.has(`SELECT 1 FROM runs WHERE request = $1`+t.d.tryUpdate, id)
	if err != nil || !locked {
		return nil, err
	}
	g, err := t.target(id)
	if err == nil {
		err = s.claimable(g, t.now)
	}
	if err == nil {
		err = t.turnInLane(g)
	}
	if sdk.CodeOf(err) == sdk.Conflict {
		return nil, nil
	}
	return g, err
}

// rest notes that a user has nothing that could be taken. Whoever adds something
// changes the same row, and that row is locked before the last look.
func (t *tx) rest(u share) error {
	locked, err := t.has(`SELECT 1 FROM shares WHERE queue = $1 AND submitter = $2`+t.d.tryUpdate, u.queue, u.submitter)
	if err != nil || !locked {
		return err
	}
	return t.exec(`UPDATE shares SET waiting = false WHERE queue = $1 AND submitter = $2
		AND NOT EXISTS (SELECT 1`+openRuns+`)`, u.queue, u.submitter)
}

// served notes that a user's turn is over.
func (t *tx) served(queue, submitter string) error {
	var count int64
	err := t.row(`UPDATE queues SET served = served + 1 WHERE name = $1 RETURNING served`, queue).Scan(&count)
	if err != nil {
		return err
	}
	return t.exec(`UPDATE shares SET served = $1 WHERE queue = $2 AND submitter = $3`, count, queue, submitter)
}

// waits notes that a user's request can be taken, now or after a pause.
func (t *tx) waits(queue, submitter string, request int64) error {
	return t.exec(`INSERT INTO shares (queue, submitter, served, since, waiting) VALUES ($1, $2, 0, $3, true)
		ON CONFLICT (queue, submitter) DO UPDATE SET waiting = true`, queue, submitter, request)
}

// laneWaits notes that the first request of a lane can be taken.
func (t *tx) laneWaits(lane string) error {
	if lane == "" {
		return nil
	}
	var id int64
	var queue, submitter string
	err := t.row(`SELECT c.request, r.queue, r.submitter FROM runs c JOIN requests r ON r.id = c.request
		WHERE c.open AND c.lane <> '' AND c.lane = $1 ORDER BY c.request LIMIT 1`, lane).Scan(&id, &queue, &submitter)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.waits(queue, submitter, id)
}
