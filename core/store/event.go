package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"github.com/iib-engine/iib/core"
)

// kinds are those of the events that this program knows, and notified those that
// notifiers hear of. What a newer one beside it writes of another kind is nothing
// to this one: it would not know what to tell.
const (
	kinds    = `'request', 'batch', 'tag'`
	notified = `'request', 'batch'`
)

// EventsAfter implements core.Events.
func (s *Store) EventsAfter(ctx context.Context, sequence int64, limit int) ([]core.Event, error) {
	events, err := s.events(ctx, `e.sequence > $1 ORDER BY e.sequence LIMIT $2`, sequence, limit)
	return events, s.fault(err, "read the events after %d", sequence)
}

// RequestEventsAfter implements core.Events.
func (s *Store) RequestEventsAfter(ctx context.Context, request, sequence int64, limit int) ([]core.Event, error) {
	events, err := s.events(ctx, `e.request = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3`, request, sequence, limit)
	return events, s.fault(err, "read the events of request %d after %d", request, sequence)
}

// LastEvent implements core.Events.
func (s *Store) LastEvent(ctx context.Context) (int64, error) {
	var last int64
	err := s.read(ctx, func(t *tx) error {
		err := t.row(`SELECT sequence FROM events WHERE kind IN (` + kinds + `) ORDER BY sequence DESC LIMIT 1`).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, s.fault(err, "read the last event")
	}
	return last, nil
}

// events reads those that a condition on e chooses, with all that they tell.
func (s *Store) events(ctx context.Context, condition string, args ...any) (events []core.Event, err error) {
	err = s.read(ctx, func(t *tx) error {
		events, err = t.events(condition, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

func (t *tx) events(condition string, args ...any) ([]core.Event, error) {
	var events []core.Event
	err := t.each(func(rows *sql.Rows) error {
		var e core.Event
		var at int64
		var request sql.NullInt64
		var annotations sql.NullString
		var position int64
		err := rows.Scan(&e.Sequence, &e.Kind, &at, &e.Batch, &request, &e.State, &position, &e.User, &annotations)
		e.Time = moment(at)
		e.Request = request.Int64
		if e.Kind == core.BatchEvent && annotations.Valid {
			e.Annotations = json.RawMessage(annotations.String)
		}
		if e.Kind == core.TagEvent {
			e.Move = &core.TagMove{ID: position}
		}
		events = append(events, e)
		return err
	}, `SELECT e.sequence, e.kind, e.time, e.batch, e.request, e.state, e.position, b.submitter, b.annotations
		FROM events e JOIN batches b ON b.id = e.batch
		WHERE e.kind IN (`+kinds+`) AND `+condition, args...)
	if err != nil {
		return nil, err
	}
	if err := t.addSnapshots(events); err != nil {
		return nil, err
	}
	if err := t.addMoves(events); err != nil {
		return nil, err
	}
	return events, t.addMembers(events)
}

// snapshotColumns are what scanRequest reads, of a request as an event saw it.
// Who ran it is no part of that.
const snapshotColumns = `r.id, r.batch, r.type, r.submitter, r.queue, r.target, r.overwrite, r.accepted, '',
		b.annotations, p.params, 0, 0, 0, '', 0, 0, '',
		v.arches, v.fields, h.state, h.reason, h.time
	FROM events e
	JOIN requests r ON r.id = e.request
	JOIN batches b ON b.id = r.batch
	JOIN submissions p ON p.request = r.id
	JOIN history h ON h.request = e.request AND h.position = e.position
	JOIN revisions v ON v.request = h.request AND v.revision = h.revision
	WHERE e.sequence IN (`

func (t *tx) addSnapshots(events []core.Event) error {
	var sequences []int64
	for _, e := range events {
		if e.Kind == core.RequestEvent {
			sequences = append(sequences, e.Sequence)
		}
	}
	var snapshots []*core.Request
	for some := range slices.Chunk(sequences, inList) {
		list, args := in(some)
		err := t.each(func(rows *sql.Rows) error {
			r, err := scanRequest(rows)
			snapshots = append(snapshots, r)
			return err
		}, `SELECT `+snapshotColumns+list+`) ORDER BY e.sequence`, args...)
		if err != nil {
			return err
		}
	}
	for i := range events {
		if events[i].Kind == core.RequestEvent {
			events[i].Snapshot, snapshots = snapshots[0], snapshots[1:]
		}
	}
	return nil
}

func (t *tx) addMembers(events []core.Event) error {
	var batches []int64
	for _, e := range events {
		if e.Kind == core.BatchEvent {
			batches = append(batches, e.Batch)
		}
	}
	members := make(map[int64][]core.BatchMember)
	for some := range slices.Chunk(batches, inList) {
		list, args := in(some)
		err := t.each(func(rows *sql.Rows) error {
			var batch int64
			var m core.BatchMember
			var organization sql.NullString
			err := rows.Scan(&batch, &m.ID, &m.Type, &organization)
			if organization.Valid {
				m.Organization = &organization.String
			}
			members[batch] = append(members[batch], m)
			return err
		}, `SELECT batch, id, type, organization FROM requests WHERE batch IN (`+list+`) ORDER BY batch, id`, args...)
		if err != nil {
			return err
		}
	}
	for i := range events {
		if events[i].Kind == core.BatchEvent {
			events[i].Members = slices.Clone(members[events[i].Batch])
		}
	}
	return nil
}
