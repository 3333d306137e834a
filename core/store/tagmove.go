package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// BeginMove implements core.TagMoves.
func (s *Store) BeginMove(ctx context.Context, m core.TagMove, claim *core.Claim) (int64, error) {
	var id int64
	err := s.write(ctx, func(t *tx) error {
		var own core.Claim
		if claim != nil {
			own = *claim
			g, err := t.lock(own.Request)
			if err != nil {
				return err
			}
			if err := g.holds(own); err != nil {
				return err
			}
		}
		if err := s.giveWay(t, m.Spec, own); err != nil {
			return err
		}
		err := t.row(`INSERT INTO tag_moves (spec, origin, target, kind, request, epoch, mover, time, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open')
			ON CONFLICT (spec) WHERE state = 'open' DO NOTHING RETURNING id`,
			text(m.Spec), text(m.From), text(m.To), m.Kind, own.Request, own.Epoch, text(m.User), micros(t.now)).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return moving(m.Spec, 0)
		}
		return err
	})
	return id, s.fault(err, "begin to move tag %s", m.Spec)
}

// giveWay makes sure that no move of a tag is under way, but for those of which
// nobody will tell the end any more.
func (s *Store) giveWay(t *tx, spec string, own core.Claim) error {
	var id, at int64
	var holder core.Claim
	err := t.row(`SELECT id, request, epoch, time FROM tag_moves WHERE spec = $1 AND state = 'open'`+t.d.forUpdate, text(spec)).
		Scan(&id, &holder.Request, &holder.Epoch, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	alive := t.now.Sub(moment(at)) < core.MoveTime
	if holder.Request != 0 {
		// A request makes one move at a time: what it left open, it gave up.
		if alive = holder.Request != own.Request; alive {
			if alive, err = s.alive(t, holder); err != nil {
				return err
			}
		}
	}
	if alive {
		return moving(spec, holder.Request)
	}
	return t.exec(`UPDATE tag_moves SET state = 'unsure' WHERE id = $1`, id)
}

func moving(spec string, request int64) error {
	err := sdk.Errorf(sdk.Conflict, "tag %s is being moved", spec)
	if request != 0 {
		err = sdk.Errorf(sdk.Conflict, "tag %s is being moved by request %d", spec, request)
	}
	err.Reason = core.ReasonMoving
	return err
}

// EndMove implements core.TagMoves.
func (s *Store) EndMove(ctx context.Context, id int64, from *string, moved bool) error {
	err := s.write(ctx, func(t *tx) error {
		var m core.TagMove
		err := t.row(`SELECT spec, target, kind FROM tag_moves WHERE id = $1 AND state <> 'made'`+t.d.forUpdate, id).
			Scan(&m.Spec, &m.To, &m.Kind)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		origin, made := "", false
		switch {
		case from != nil:
			origin = text(*from)
			made, err = t.decide(m.Spec, origin, id)
		case moved: // what came of earlier moves cannot be seen any more
			err = t.forget(m.Spec, id)
		}
		if err != nil {
			return err
		}
		if !moved || made && m.Kind == core.MovePublish && m.To == origin {
			return t.exec(`DELETE FROM tag_moves WHERE id = $1`, id)
		}
		if m.Event() {
			t.notes = append(t.notes, note{kind: core.TagEvent, time: t.now, position: id})
		}
		return t.exec(`UPDATE tag_moves SET state = 'made', origin = $1, time = $2 WHERE id = $3`, origin, micros(t.now), id)
	})
	return s.fault(err, "end move %d of a tag", id)
}

// decide tells what came of the moves of a tag that nobody ended, by what the
// tag was afterwards, and reports whether one of them was made. But for the move
// except, which is under way.
func (t *tx) decide(spec, now string, except int64) (made bool, err error) {
	made, err = t.affect(`UPDATE tag_moves SET state = 'made' WHERE spec = $1 AND state = 'unsure' AND id <> $2 AND target = $3`,
		spec, except, now)
	if err != nil {
		return false, err
	}
	return made, t.forget(spec, except)
}

// forget drops the moves of a tag that nobody ended.
func (t *tx) forget(spec string, except int64) error {
	return t.exec(`DELETE FROM tag_moves WHERE spec = $1 AND state = 'unsure' AND id <> $2`, spec, except)
}

// MovedTags implements core.TagMoves.
func (s *Store) MovedTags(ctx context.Context, request int64) ([]string, error) {
	var specs []string
	err := s.read(ctx, func(t *tx) error {
		specs = nil
		return t.each(func(rows *sql.Rows) error {
			var spec string
			err := rows.Scan(&spec)
			specs = append(specs, spec)
			return err
		}, `SELECT DISTINCT spec FROM tag_moves WHERE request = $1 ORDER BY spec`, request)
	})
	return specs, s.fault(err, "look for the moves of request %d", request)
}

// Landed implements core.TagMoves.
func (s *Store) Landed(ctx context.Context, spec, now string, claim core.Claim) (string, error) {
	var digest string
	err := s.write(ctx, func(t *tx) error {
		digest = ""
		g, err := t.lock(claim.Request)
		if err != nil {
			return err
		}
		if err := g.holds(claim); err != nil {
			return err
		}
		if err := s.giveWay(t, spec, claim); err != nil {
			return err
		}
		if _, err := t.decide(text(spec), text(now), 0); err != nil {
			return err
		}
		err = t.row(`SELECT target FROM tag_moves WHERE spec = $1 AND state = 'made' AND request = $2 ORDER BY id DESC LIMIT 1`,
			text(spec), claim.Request).Scan(&digest)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return digest, s.fault(err, "look for the moves of tag %s", spec)
}

const moveColumns = `SELECT id, spec, origin, target, kind, request, mover, time FROM tag_moves WHERE `

func scanMove(rows *sql.Rows) (core.TagMove, error) {
	var m core.TagMove
	var at int64
	err := rows.Scan(&m.ID, &m.Spec, &m.From, &m.To, &m.Kind, &m.Request, &m.User, &at)
	m.Time = moment(at)
	return m, err
}

// TagMoves implements core.TagMoves.
func (s *Store) TagMoves(ctx context.Context, spec string, before int64, limit int) ([]core.TagMove, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	var moves []core.TagMove
	err := s.read(ctx, func(t *tx) error {
		moves = nil
		return t.each(func(rows *sql.Rows) error {
			m, err := scanMove(rows)
			moves = append(moves, m)
			return err
		}, moveColumns+`spec = $1 AND state = 'made' AND id < $2 ORDER BY id DESC LIMIT $3`, text(spec), before, max(limit, 0))
	})
	if err != nil {
		return nil, s.fault(err, "read the moves of tag %s", spec)
	}
	return moves, nil
}

// addMoves reads what the tag events among some events are about.
func (t *tx) addMoves(events []core.Event) error {
	for i := range events {
		e := &events[i]
		if e.Move == nil {
			continue
		}
		err := t.each(func(rows *sql.Rows) error {
			m, err := scanMove(rows)
			*e.Move, e.User = m, m.User
			return err
		}, moveColumns+`id = $1`, e.Move.ID)
		if err != nil {
			return err
		}
	}
	return nil
}
