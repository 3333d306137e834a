package coretest

import (
	"context"
	"maps"
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
	if err := m.giveWay(begun.Spec, begun.Request); err != nil {
		return 0, err
	}
	m.moved++
	begun.ID, begun.Time = m.moved, m.moment()
	m.moves = append(m.moves, begun)
	return begun.ID, nil
}

// giveWay makes sure that no move of a tag is under way.
func (m *Memory) giveWay(spec string, request int64) error {
	for _, other := range m.moves {
		if other.state != "open" || other.Spec != spec {
			continue
		}
		if m.underWay(other) && (request == 0 || other.Request != request) {
			err := sdk.Errorf(sdk.Conflict, "tag %s is being moved", spec)
			err.Reason = core.ReasonMoving
			return err
		}
		other.state = "unsure"
	}
	return nil
}

// decide tells what came of the moves that nobody ended.
func (m *Memory) decide(spec, now string, except *memoryMove) (made bool) {
	m.moves = slices.DeleteFunc(m.moves, func(move *memoryMove) bool {
		if move.Spec != spec || move.state != "unsure" || move == except {
			return false
		}
		if move.To == now {
			move.state, made = "made", true
		}
		return move.state != "made"
	})
	return made
}

// Landed implements core.TagMoves.
func (m *Memory) Landed(_ context.Context, spec, now string, claim core.Claim) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.held(claim); err != nil {
		return "", err
	}
	if err := m.giveWay(text(spec), claim.Request); err != nil {
		return "", err
	}
	m.decide(text(spec), now, nil)
	for _, move := range slices.Backward(m.moves) {
		if move.Spec == text(spec) && move.state == "made" && move.Request == claim.Request {
			return move.To, nil
		}
	}
	return "", nil
}

func (m *Memory) underWay(move *memoryMove) bool {
	if move.Request == 0 {
		return m.now().Sub(move.Time) < core.MoveTime
	}
	r, err := m.held(move.claim)
	return err == nil && m.now().Before(r.expires)
}

// EndMove implements core.TagMoves.
func (m *Memory) EndMove(_ context.Context, id int64, from *string, moved bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.moves, func(move *memoryMove) bool { return move.ID == id && move.state != "made" })
	if i < 0 {
		return nil
	}
	ended := m.moves[i]
	origin, repeated := "", false
	switch {
	case from != nil:
		origin = *from
		repeated = m.decide(ended.Spec, origin, ended)
	case moved:
		m.moves = slices.DeleteFunc(m.moves, func(move *memoryMove) bool {
			return move.Spec == ended.Spec && move.state == "unsure" && move != ended
		})
	}
	if !moved || repeated && ended.Kind == core.MovePublish && ended.To == origin {
		m.moves = slices.DeleteFunc(m.moves, func(move *memoryMove) bool { return move == ended })
		return nil
	}
	ended.state, ended.From, ended.Time = "made", origin, m.moment()
	if ended.Event() {
		told := ended.TagMove
		m.events = append(m.events, core.Event{
			Sequence: int64(len(m.events)) + 1, Kind: core.TagEvent, Time: ended.Time, User: ended.User, Move: &told,
		})
	}
	return nil
}

// MovedTags implements core.TagMoves.
func (m *Memory) MovedTags(_ context.Context, request int64) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	specs := make(map[string]bool)
	for _, move := range m.moves {
		if move.Request == request {
			specs[move.Spec] = true
		}
	}
	return slices.Sorted(maps.Keys(specs)), nil
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
