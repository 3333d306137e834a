package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Request implements core.Requests.
func (s *Store) Request(ctx context.Context, id int64) (*core.Request, error) {
	var r *core.Request
	err := s.read(ctx, func(t *tx) (err error) {
		r, err = t.request(id)
		return err
	})
	if err != nil {
		return nil, s.fault(err, "read request %d", id)
	}
	return r, nil
}

// ImageSeen implements core.Requests.
func (s *Store) ImageSeen(ctx context.Context, image string, prefix bool) (bool, error) {
	image = text(image)
	seen := false
	err := s.read(ctx, func(t *tx) error {
		// In the order of bytes the first that is not less than a prefix has
		// it, if any has.
		return t.each(func(rows *sql.Rows) error {
			var first string
			err := rows.Scan(&first)
			seen = first == image || prefix && strings.HasPrefix(first, image)
			return err
		}, `SELECT spec FROM images WHERE spec >= $1 ORDER BY spec LIMIT 1`, image)
	})
	if err != nil {
		return false, s.fault(err, "look up image %s", image)
	}
	return seen, nil
}

// requestColumns are what scanRequest reads, of a request as it is now.
const requestColumns = `r.id, r.batch, r.type, r.submitter, r.queue, r.target, r.overwrite, r.accepted, r.cancel_reason,
		b.annotations, p.params, c.attempt, c.takeovers, c.epoch, c.worker, c.expires, c.not_before, c.trace,
		v.arches, v.fields, h.state, h.reason, h.time
	FROM requests r
	JOIN batches b ON b.id = r.batch
	JOIN submissions p ON p.request = r.id
	JOIN runs c ON c.request = r.id
	JOIN revisions v ON v.request = r.id AND v.revision = r.revision
	JOIN history h ON h.request = r.id AND h.position = r.position `

// scanRequest reads a row, with the newest entry of the history only.
func scanRequest(rows *sql.Rows) (*core.Request, error) {
	var r core.Request
	var entry core.StateEntry
	var accepted, expires, notBefore, updated int64
	var annotations sql.NullString
	var params, arches, fields string
	err := rows.Scan(&r.ID, &r.Batch, &r.Type, &r.User, &r.Queue, &r.Target, &r.Overwrite, &accepted, &r.CancelReason,
		&annotations, &params, &r.Attempt, &r.TakeOvers, &r.Epoch, &r.Worker, &expires, &notBefore, &r.Trace,
		&arches, &fields, &entry.State, &entry.Reason, &updated)
	if err != nil {
		return nil, err
	}
	r.Accepted = moment(accepted)
	r.NotBefore = moment(notBefore)
	if r.Worker != "" {
		r.Lease = moment(expires)
	}
	r.Params = json.RawMessage(params)
	if annotations.Valid {
		r.BatchAnnotations = json.RawMessage(annotations.String)
	}
	if err := decode(arches, &r.Arches); err != nil {
		return nil, err
	}
	if err := decode(fields, &r.Fields); err != nil {
		return nil, err
	}
	entry.Time = moment(updated)
	r.History = []core.StateEntry{entry}
	return &r, nil
}

// requests returns those that a condition on r chooses, without their older
// history.
func (t *tx) requests(condition string, args ...any) ([]*core.Request, error) {
	var found []*core.Request
	err := t.each(func(rows *sql.Rows) error {
		r, err := scanRequest(rows)
		found = append(found, r)
		return err
	}, `SELECT `+requestColumns+condition, args...)
	return found, err
}

// request returns one with its whole history.
func (t *tx) request(id int64) (*core.Request, error) {
	found, err := t.requests(`WHERE r.id = $1`, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, unknown(id)
	}
	return found[0], t.addHistory(found[0])
}

// addHistory reads the entries before the newest.
func (t *tx) addHistory(r *core.Request) error {
	r.History = r.History[:0]
	return t.each(func(rows *sql.Rows) error {
		var entry core.StateEntry
		var at int64
		err := rows.Scan(&entry.State, &entry.Reason, &at)
		entry.Time = moment(at)
		r.History = append(r.History, entry)
		return err
	}, `SELECT state, reason, time FROM history WHERE request = $1 ORDER BY position DESC`, r.ID)
}

func unknown(id int64) error {
	return sdk.Errorf(sdk.NotFound, "request %d does not exist", id)
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
