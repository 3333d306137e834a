package coretest

import (
	"context"
	"slices"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// memoryMove is a move and how far it has come.
type memoryMove struct {
	core.TagMove
	claim core.Claim
	state string // open, unsure or made
}

// BeginMove implements core.TagMoves.
func (m *Memory) BeginMove(_ context.Context, move core.TagMove, claim *core.Claim) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	begun := &memoryMove{TagMove: move, state: "open"}
	begun.Request = 0
	if claim != nil {
		if _, err := m.held(*claim); err != nil {
			return 0, err
		}
		begun.claim, begun.Request = *claim, claim.Request
	}
	begun.Spec, begun.User = text(move.Spec), text(move.User)
	for _, other := range m.moves {
		if other.state != "open" || other.Spec != begun.Spec {
			continue
		}
		if m.underWay(other) && (claim == nil || other.Request != claim.Request) {
			err := sdk.Errorf(sdk.Conflict, "tag %s is being moved", move.Spec)
			err.Reason = core.ReasonMoving
			return 0, err
		}
		other.state = "unsure"
	}
	m.moved++
	begun.ID, begun.Time = m.moved, m.moment()
	m.moves = append(m.moves, begun)
	return begun.ID, nil
}

func (m *Memory) underWay(move *memoryMove) bool {
	if move.Request == 0 {
		return m.now().Sub(move.Time) < core.MoveTime
	}
	r, err := m.held(move.claim)
	return err == nil && m.now().Before(r.expires)
}

// EndMove implements core.TagMoves.
func (m *Memory) EndMove(_ context.Context, id int64, from string, moved bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.moves, func(move *memoryMove) bool { return move.ID == id && move.state != "made" })
	if i < 0 {
		return nil
	}
	ended, repeated := m.moves[i], false
	m.moves = slices.DeleteFunc(m.moves, func(move *memoryMove) bool {
		if move.Spec != ended.Spec || move.state != "unsure" || move == ended {
			return false
		}
		if move.To == from {
			move.state, repeated = "made", true
		}
		return move.state != "made"
	})
	if !moved || repeated && ended.Kind == core.MovePublish && ended.To == from {
		m.moves = slices.DeleteFunc(m.moves, func(move *memoryMove) bool { return move == ended })
		return nil
	}
	ended.state, ended.From, ended.Time = "made", from, m.moment()
	if ended.Event() {
		told := ended.TagMove
		m.events = append(m.events, core.Event{
			Sequence: int64(len(m.events)) + 1, Kind: core.TagEvent, Time: ended.Time, User: ended.User, Move: &told,
		})
	}
	return nil
}

// TagMoves implements core.TagMoves.
func (m *Memory) TagMoves(_ context.Context, spec string, before int64, limit int) ([]core.TagMove, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []core.TagMove
	for _, move := range slices.Backward(m.moves) {
		if move.Spec == text(spec) && move.state == "made" && (before <= 0 || move.ID < before) && len(found) < limit {
			found = append(found, move.TagMove)
		}
	}
	return found, nil
}
