package core

import (
	"context"
	"time"
)

// TagMoves is the record of the tags that engines on this store have moved
// themselves. It is what is known of the past of a tag in a registry that keeps
// no history, and it tells which request published what in any other.
//
// A move is begun before the registry is asked and ended after it has answered,
// so that a crash between the two leaves a trace. At most one move of a tag is
// under way at a time.
type TagMoves interface {
	// BeginMove announces a move of the tag m.Spec to m.To. With a claim, the
	// move is one of the claim's request, and a Conflict without ReasonMoving if
	// the claim is lost. It is a Conflict with ReasonMoving while another move
	// of the tag is under way: until that is ended, its claim is lost, or, for
	// one without a claim, MoveTime has passed. m.From may be what is expected
	// there; ID and Time are the store's.
	BeginMove(ctx context.Context, m TagMove, claim *Claim) (id int64, err error)
	// EndMove ends a move. From is the digest that the tag had before, as it was
	// seen while the move was under way, "" if there was no tag, nil if it could
	// not be seen. A move that was not made leaves no trace; a restored or deleted
	// tag is an event. Ending what is not there any more does nothing.
	EndMove(ctx context.Context, id int64, from *string, moved bool) error
	// Landed returns the digest that the claim's request has moved a tag to, in
	// this run or an earlier one, "" if it has not. It decides what came of the
	// moves that nobody ended: now is what the tag is, read under the claim. It
	// is a Conflict, as for BeginMove, if the claim is lost or another move of
	// the tag is under way.
	Landed(ctx context.Context, spec, now string, claim Claim) (digest string, err error)
	// MovedTags returns the tags that a request has moved or may have moved, by
	// name: moves that nobody ended count.
	MovedTags(ctx context.Context, request int64) (specs []string, err error)
	// TagMoves returns the moves of a tag that were made, newest first: below
	// the ID before, if that is not 0, and at most limit.
	TagMoves(ctx context.Context, spec string, before int64, limit int) ([]TagMove, error)
}

// ReasonMoving is the reason of the Conflict that a tag is being moved.
const ReasonMoving = "moving"

// MoveTime is how long a move that belongs to no request may be under way.
const MoveTime = time.Minute

// MoveKind says why a tag was moved.
type MoveKind string

const (
	// MovePublish: a request published its result.
	MovePublish MoveKind = "publish"
	// MoveRestore: somebody put an earlier image back.
	MoveRestore MoveKind = "restore"
	// MoveDelete: somebody took the tag away.
	MoveDelete MoveKind = "delete"
)

// TagMove is a tag that was made to point elsewhere.
type TagMove struct {
	// ID grows with every move of the store.
	ID int64
	// Spec is the pull spec with the tag: registry/repository:tag.
	Spec string
	// From and To are digests. From is empty if the tag was not there, or what
	// it was is not known; To is empty if it was taken away.
	From, To string
	Kind     MoveKind
	// Request is 0 if the tag was moved for none.
	Request int64
	User    string
	Time    time.Time
}

// Event reports whether listeners hear of the move by an event of its own. A
// publication is told by its request's events.
func (m *TagMove) Event() bool { return m.Kind != MovePublish }
