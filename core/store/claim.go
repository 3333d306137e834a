package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Claim implements core.Claims.
func (s *Store) Claim(ctx context.Context, id int64, worker string, lease time.Duration) (*core.Request, core.Claim, error) {
	worker = text(worker)
	if worker == "" || lease <= 0 {
		return nil, core.Claim{}, sdk.Errorf(sdk.Internal, "claim request %d: it takes a worker's name and a lease", id)
	}
	var r *core.Request
	var b beat
	err := s.write(ctx, func(t *tx) error {
		g, err := t.lock(id)
		if err != nil {
			return err
		}
		if err := s.claimable(g, t.now); err != nil {
			return err
		}
		if err := t.turnInLane(g); err != nil {
			return err
		}
		r, b, err = t.take(g, worker, lease)
		return err
	})
	if err != nil {
		return nil, core.Claim{}, s.fault(err, "claim request %d", id)
	}
	s.watch.saw(id, b, lease)
	return r, core.Claim{Request: id, Worker: worker, Epoch: b.epoch}, nil
}

// take gives a locked request to a worker.
func (t *tx) take(g *target, worker string, lease time.Duration) (*core.Request, beat, error) {
	b := beat{epoch: g.beat.epoch + 1, count: g.beat.count + 1}
	// What had a worker until now had one that is dead.
	err := t.exec(`UPDATE runs SET takeovers = takeovers + CASE WHEN worker <> '' THEN 1 ELSE 0 END,
			worker = $1, epoch = $2, beat = $3, attempt = attempt + 1,
			lease = $4, expires = $5, released = 0, not_before = 0 WHERE request = $6`,
		worker, b.epoch, b.count, lease.Microseconds(), micros(t.now.Add(lease)), g.id)
	if err != nil {
		return nil, b, err
	}
	r, err := t.request(g.id)
	return r, b, err
}

// claimable returns a Conflict error if nobody may claim the request now.
func (s *Store) claimable(g *target, now time.Time) error {
	switch {
	case g.state.Final():
		return g.ended()
	case g.worker != "" && !s.watch.saw(g.id, g.beat, g.lease):
		return sdk.Errorf(sdk.Conflict, "request %d is claimed by worker %s", g.id, g.worker)
	case g.worker == "" && wait(g.released, g.notBefore, now) > 0:
		return sdk.Errorf(sdk.Conflict, "request %d waits until %s for its next attempt",
			g.id, moment(g.notBefore).Format(time.RFC3339Nano))
	}
	return nil
}

// turnInLane returns a Conflict error while another request of the lane has to
// end first. One that was given a lower ID may have been stored later, and find
// its successor running.
func (t *tx) turnInLane(g *target) error {
	if g.lane == "" {
		return nil
	}
	if err := t.d.lockLane(t.ctx, t.q, g.lane); err != nil {
		return err
	}
	var other int64
	err := t.row(`SELECT request FROM runs WHERE open AND lane <> '' AND lane = $1 AND request <> $2
		AND (request < $2 OR worker <> '') ORDER BY request LIMIT 1`, g.lane, g.id).Scan(&other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return sdk.Errorf(sdk.Conflict, "request %d waits for request %d, which comes before it in its lane", g.id, other)
}

// wait returns how much of a delay is left. A clock before the delay's
// beginning has been set back, and would make the delay longer: it is over.
func wait(released, notBefore int64, now time.Time) time.Duration {
	if micros(now) < released {
		return 0
	}
	return max(0, moment(notBefore).Sub(now))
}

// Renew implements core.Claims. A claim that has not been taken away can be
// renewed even if its lease is over.
func (s *Store) Renew(ctx context.Context, claim core.Claim, lease time.Duration) error {
	var count int64
	err := s.write(ctx, func(t *tx) error {
		err := t.row(`UPDATE runs SET beat = beat + 1, lease = $1, expires = $2
			WHERE request = $3 AND worker = $4 AND worker <> '' AND epoch = $5 RETURNING beat`,
			lease.Microseconds(), micros(t.now.Add(lease)), claim.Request, claim.Worker, claim.Epoch).Scan(&count)
		if errors.Is(err, sql.ErrNoRows) {
			return t.lost(claim)
		}
		return err
	})
	if err != nil {
		return s.fault(err, "renew the claim on request %d", claim.Request)
	}
	s.watch.saw(claim.Request, beat{epoch: claim.Epoch, count: count}, lease)
	return nil
}

// lost returns why a claim is not in force.
func (t *tx) lost(claim core.Claim) error {
	g, err := t.target(claim.Request)
	if err != nil {
		return err
	}
	return g.holds(claim)
}

// Release implements core.Claims.
func (s *Store) Release(ctx context.Context, claim core.Claim, delay time.Duration, uncounted bool) error {
	err := s.write(ctx, func(t *tx) error {
		g, err := t.lock(claim.Request)
		if err != nil {
			return err
		}
		if err := g.holds(claim); err != nil {
			return err
		}
		back := 0
		if uncounted {
			back = 1
		}
		err = t.exec(`UPDATE runs SET worker = '', lease = 0, expires = 0, attempt = attempt - $1,
				released = $2, not_before = $3 WHERE request = $4`,
			back, micros(t.now), micros(t.now.Add(max(0, delay))), claim.Request)
		if err != nil {
			return err
		}
		if err := t.waits(g.queue, g.submitter, g.id); err != nil {
			return err
		}
		return t.laneWaits(g.lane)
	})
	if err != nil {
		return s.fault(err, "release request %d", claim.Request)
	}
	s.watch.forget(claim.Request)
	return nil
}

// Secrets implements core.Claims.
func (s *Store) Secrets(ctx context.Context, claim core.Claim) (map[string]sdk.Secret, []sdk.Grant, error) {
	var sealed []byte
	err := s.read(ctx, func(t *tx) error {
		if err := t.lost(claim); err != nil {
			return err
		}
		err := t.row(`SELECT sealed FROM secrets WHERE request = $1`, claim.Request).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, nil, s.fault(err, "read the secrets of request %d", claim.Request)
	}
	if sealed == nil {
		return map[string]sdk.Secret{}, nil, nil
	}
	return s.ring.open(claim.Request, sealed)
}
