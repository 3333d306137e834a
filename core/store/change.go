package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Patch implements core.Requests.
func (s *Store) Patch(ctx context.Context, id int64, change *core.Change) (*core.Request, error) {
	return s.change(ctx, id, change, func(*target) error { return nil })
}

// Cancel implements core.Requests.
func (s *Store) Cancel(ctx context.Context, id int64, reason string) (*core.Request, error) {
	change := &core.Change{State: core.Failed, Reason: reason}
	return s.change(ctx, id, change, func(g *target) error {
		if g.state.Final() {
			return g.ended()
		}
		g.cancelReason = text(reason)
		return nil
	})
}

// Change implements core.Claims.
func (s *Store) Change(ctx context.Context, claim core.Claim, change *core.Change) (*core.Request, error) {
	return s.change(ctx, claim.Request, change, func(g *target) error { return g.holds(claim) })
}

// change applies a change to a request that allow has nothing against.
func (s *Store) change(ctx context.Context, id int64, change *core.Change, allow func(*target) error) (*core.Request, error) {
	if change.State == "" && change.Reason != "" {
		return nil, sdk.FieldErrorf("state", "a reason comes with a state")
	}
	var r *core.Request
	err := s.write(ctx, func(t *tx) error {
		g, err := t.lock(id)
		if err != nil {
			return err
		}
		if err := allow(g); err != nil {
			return err
		}
		settled, err := g.settled(change)
		if err != nil {
			return err
		}
		if err := t.apply(g, settled); err != nil {
			return err
		}
		r, err = t.request(id)
		return err
	})
	if err != nil {
		return nil, s.fault(err, "change request %d", id)
	}
	if r.Final() {
		s.watch.forget(id)
	}
	return r, nil
}

// target is a request that is to be changed.
type target struct {
	id, batch          int64
	position, revision int64
	state              core.State
	reason             string
	updated            int64
	arches, fields     string
	indexImage         string
	queue, submitter   string
	cancelReason       string

	worker    string
	beat      beat
	lease     time.Duration
	released  int64
	notBefore int64
	lane      string
}

// lock keeps others from changing a request until the transaction ends, and
// reads what a change depends on.
func (t *tx) lock(id int64) (*target, error) {
	found, err := t.d.lockRequest(t.ctx, t.q, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unknown(id)
	}
	return t.target(id)
}

// target reads what a change of a request depends on.
func (t *tx) target(id int64) (*target, error) {
	g := &target{id: id}
	var lease int64
	err := t.row(`SELECT r.batch, r.position, r.revision, r.state, r.index_image, r.cancel_reason, r.queue, r.submitter,
			h.reason, h.time, v.arches, v.fields,
			c.worker, c.epoch, c.beat, c.lease, c.released, c.not_before, c.lane
		FROM requests r
		JOIN history h ON h.request = r.id AND h.position = r.position
		JOIN revisions v ON v.request = r.id AND v.revision = r.revision
		JOIN runs c ON c.request = r.id
		WHERE r.id = $1`, id).
		Scan(&g.batch, &g.position, &g.revision, &g.state, &g.indexImage, &g.cancelReason, &g.queue, &g.submitter,
			&g.reason, &g.updated, &g.arches, &g.fields,
			&g.worker, &g.beat.epoch, &g.beat.count, &lease, &g.released, &g.notBefore, &g.lane)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, unknown(id)
	}
	g.lease = time.Duration(lease) * time.Microsecond
	return g, err
}

// settled returns the change for what the request shows.
func (g *target) settled(change *core.Change) (*core.Change, error) {
	if change.Settle == nil {
		return change, nil
	}
	var current map[string]json.RawMessage
	if err := decode(g.fields, &current); err != nil {
		return nil, err
	}
	return change.Settled(current)
}

// holds returns an error unless the claim is the one that the request is under.
func (g *target) holds(claim core.Claim) error {
	switch {
	case g.state.Final():
		return g.ended()
	case g.worker == "" || g.worker != claim.Worker || g.beat.epoch != claim.Epoch:
		return sdk.Errorf(sdk.Conflict, "worker %s has lost its claim %d on request %d", claim.Worker, claim.Epoch, g.id)
	}
	return nil
}

func (g *target) ended() error {
	err := sdk.Errorf(sdk.Conflict, "request %d has ended already: it is %s", g.id, g.state)
	err.Reason = core.ReasonFinal
	return err
}

// apply writes a change and what follows from it: the end of a claim, the wipe
// of secrets, the events.
func (t *tx) apply(g *target, change *core.Change) error {
	from := g.state
	reason := text(change.Reason)
	if change.State != "" {
		if err := core.CheckTransition(from, change.State); err != nil {
			return err
		}
	}
	if err := t.revise(g, change); err != nil {
		return err
	}
	if err := t.addImages(texts(change.Images)); err != nil {
		return err
	}
	appended := change.State != "" && (change.State != from || reason != g.reason)
	if appended {
		g.state = change.State
		if err := t.appendState(g, reason); err != nil {
			return err
		}
	}
	if g.state.Final() && !from.Final() {
		if err := t.end(g); err != nil {
			return err
		}
	}
	err := t.exec(`UPDATE requests SET state = $1, index_image = $2, position = $3, revision = $4, cancel_reason = $5 WHERE id = $6`,
		g.state, g.indexImage, g.position, g.revision, g.cancelReason, g.id)
	if err != nil || !appended {
		return err
	}
	return t.noteBatch(g, from)
}

// revise adds a revision with the change's arches and fields, if they differ.
func (t *tx) revise(g *target, change *core.Change) error {
	arches, fields, err := g.merge(change)
	if err != nil || arches == g.arches && fields == g.fields {
		return err
	}
	g.arches, g.fields = arches, fields
	g.revision++
	if value, ok := change.Fields["index_image"]; ok {
		image := text(core.FieldText(map[string]json.RawMessage{"": value}, ""))
		if image != g.indexImage {
			g.indexImage = image
			t.notes = append(t.notes, note{kind: touch, time: t.now, request: g.id, batch: g.batch, state: g.state})
		}
	}
	return t.exec(`INSERT INTO revisions (request, revision, arches, fields) VALUES ($1, $2, $3, $4)`,
		g.id, g.revision, g.arches, g.fields)
}

// merge returns the columns as they are after the change.
func (g *target) merge(change *core.Change) (arches, fields string, err error) {
	if len(change.Arches) == 0 && len(change.Fields) == 0 {
		return g.arches, g.fields, nil
	}
	var set []string
	if err := decode(g.arches, &set); err != nil {
		return "", "", err
	}
	if arches, err = encode(texts(slices.Concat(set, change.Arches))); err != nil {
		return "", "", err
	}
	values := make(map[string]json.RawMessage)
	if err := decode(g.fields, &values); err != nil {
		return "", "", err
	}
	maps.Copy(values, change.Fields)
	fields, err = encode(values)
	return arches, fields, err
}

// appendState adds an entry to the history. It is never earlier than the one
// before, whatever clocks have done.
func (t *tx) appendState(g *target, reason string) error {
	g.position++
	at := later(t.now, moment(g.updated))
	t.notes = append(t.notes, note{
		kind: core.RequestEvent, time: at, request: g.id, position: g.position, batch: g.batch, state: g.state,
	})
	return t.exec(`INSERT INTO history (request, position, revision, time, state, reason) VALUES ($1, $2, $3, $4, $5, $6)`,
		g.id, g.position, g.revision, micros(at), g.state, reason)
}

// end closes a request: nobody runs it any more or may open its secrets.
func (t *tx) end(g *target) error {
	err := t.exec(`UPDATE runs SET open = $1, worker = '', lease = 0, expires = 0, released = 0, not_before = 0 WHERE request = $2`,
		false, g.id)
	if err != nil {
		return err
	}
	if err := t.laneWaits(g.lane); err != nil {
		return err
	}
	return t.exec(`DELETE FROM secrets WHERE request = $1`, g.id)
}

// noteBatch counts the batch's members anew and, when all have ended, says so.
func (t *tx) noteBatch(g *target, from core.State) error {
	if !g.state.Final() {
		return nil
	}
	closed, failed := 0, 0
	if !from.Final() {
		closed = 1
		if g.state == core.Failed {
			failed = 1
		}
	}
	var open, failures int
	err := t.row(`UPDATE batches SET open = open - $1, failed = failed + $2 WHERE id = $3 RETURNING open, failed`,
		closed, failed, g.batch).Scan(&open, &failures)
	if err != nil || open > 0 {
		return err
	}
	state := core.Complete
	if failures > 0 {
		state = core.Failed
	}
	t.notes = append(t.notes, note{kind: core.BatchEvent, time: t.now, batch: g.batch, state: state})
	return nil
}
