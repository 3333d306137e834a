package core

import (
	"context"
	"encoding/json"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Store keeps what the engine accepted. Every method is one transaction and
// safe for concurrent use by many processes. An unreachable or locked database
// is Unavailable, an unknown request NotFound.
type Store interface {
	Submissions
	Requests
	Claims
	Queues
	Locks
	Events
	Deliveries
	TagMoves
	// Ping reports whether the database answers.
	Ping(ctx context.Context) error
	Close() error
}

// Submissions stores what was accepted.
type Submissions interface {
	// Create stores a batch with its requests, their first states, sealed
	// secrets and events. The result is in the order of batch.Requests.
	//
	// With an idempotency key that the user has used before, it stores nothing
	// and returns the earlier requests with repeated true, or a Conflict error
	// if the digest differs.
	Create(ctx context.Context, batch *NewBatch) (requests []*Request, repeated bool, err error)
}

// Requests reads and, on behalf of outside workers, changes requests.
type Requests interface {
	// Request returns one request with its whole history.
	Request(ctx context.Context, id int64) (*Request, error)
	// List returns requests by descending ID, and how many match in all.
	List(ctx context.Context, f Filter, p Page) (requests []*Request, total int64, err error)
	// ImageSeen reports whether any submission or change has mentioned a pull
	// spec; with prefix, whether any that begins with it.
	ImageSeen(ctx context.Context, image string, prefix bool) (bool, error)
	// Patch applies a change that comes from outside of a claim.
	Patch(ctx context.Context, id int64, change *Change) (*Request, error)
	// Cancel ends a request as failed at once and makes every later write of
	// its claim fail. It is a Conflict with ReasonFinal for one that has ended.
	Cancel(ctx context.Context, id int64, reason string) (*Request, error)
}

// Claims is how workers share the requests.
type Claims interface {
	// Claim gives a certain request to a worker until lease from now, and counts an
	// attempt; if an earlier claim is dead, it counts a take-over too. It is a Conflict while an earlier claim's lease runs, be it the
	// same worker's, before NotBefore, while an earlier request of its lane has
	// not ended, or when the request itself has (ReasonFinal). Leases are watched and not compared with clocks: where
	// several processes share a store, each waits a whole lease from when it
	// first saw the claim.
	Claim(ctx context.Context, id int64, worker string, lease time.Duration) (*Request, Claim, error)
	// ClaimNext claims the request of a queue that is next, in fairness to all
	// users: of those with the fewest requests running in the queue the one whom
	// ClaimNext has served longest ago, and of that user's requests that nothing
	// holds back the oldest. Those without a user are one user. It is NotFound if
	// there is none or the queue is paused; a dead claim's request counts from when Recover found it.
	ClaimNext(ctx context.Context, queue, worker string, lease time.Duration) (*Request, Claim, error)
	// Renew extends the lease. A Conflict means that the claim is lost.
	Renew(ctx context.Context, claim Claim, lease time.Duration) error
	// Release gives the claim back without an end, so that the request can be
	// claimed again after delay. With uncounted, the attempt is not counted.
	Release(ctx context.Context, claim Claim, delay time.Duration, uncounted bool) error
	// Change applies a change under a claim. A final state also gives up the
	// claim and wipes the request's secrets.
	Change(ctx context.Context, claim Claim, change *Change) (*Request, error)
	// Secrets opens what was sealed for the request.
	Secrets(ctx context.Context, claim Claim) (map[string]sdk.Secret, []sdk.Grant, error)
}

// Queues tells what waits for workers.
type Queues interface {
	// Queues returns the queues that have requests which have not ended, or are
	// paused, by name. They are what a lost queue is rebuilt from.
	Queues(ctx context.Context) ([]QueueStanding, error)
	// Recover ends dead claims, which counts a take-over of each. Called again
	// and again, at least twice a lease, by any process, it makes their requests
	// claimable by all.
	Recover(ctx context.Context) error
	// Pause makes ClaimNext find nothing in a queue, for all processes and as soon
	// as it returns; what is claimed goes on. A second pause replaces the first.
	Pause(ctx context.Context, queue, by, reason string) error
	// Resume ends a pause; of a queue that is not paused it changes nothing.
	Resume(ctx context.Context, queue string) error
}

// QueueStanding is how a queue stands.
type QueueStanding struct {
	Name string
	// Running have a worker; Waiting have none.
	Running, Waiting int64
	// Ready are those of Waiting that may be started now: their queue is not
	// paused, they make no pause of their own, and nobody in their lane is before
	// them.
	Ready int64
	// Pause is nil if the queue is not paused.
	Pause *Pause
}

// Pause is why nothing of a queue begins.
type Pause struct {
	By, Reason string
	Since      time.Time
}

// Locks are names that one claim at a time may hold. A lock lives no longer
// than the claim that holds it: when its lease ran out, the lock is free.
type Locks interface {
	// Lock gives the name to the claim. It is a Conflict while another live
	// claim holds it; the caller tries again. Locking a name twice under one
	// claim is one lock.
	Lock(ctx context.Context, name string, claim Claim) error
	// Unlock gives the name back; unlocking what one does not hold does nothing.
	Unlock(ctx context.Context, name string, claim Claim) error
}

// Events reads the outbox.
type Events interface {
	// EventsAfter returns events with a greater sequence, in order. Sequences
	// may have gaps, but an event never appears below one already returned.
	EventsAfter(ctx context.Context, sequence int64, limit int) ([]Event, error)
	// RequestEventsAfter returns those of one request.
	RequestEventsAfter(ctx context.Context, request, sequence int64, limit int) ([]Event, error)
	// LastEvent returns the greatest sequence, 0 if there is none.
	LastEvent(ctx context.Context) (int64, error)
}

// Filter chooses requests; its set fields combine with AND.
type Filter struct {
	State State
	Batch int64
	Type  string
	User  string
	// IndexImage equals the field index_image.
	IndexImage string
	// FromIndex equals, FromIndexPrefix begins, the field from_index.
	FromIndex       string
	FromIndexPrefix string
	// Types, if not empty, has the types that count where Type says nothing.
	Types []string
	// HasBatch tells that Batch is meant, whatever its value.
	HasBatch bool
}

// Page chooses a part of a list: either the Number-th page of Size, or those
// below the ID Before.
type Page struct {
	Number int
	Size   int
	Before int64
	// History asks for whole histories.
	History bool
}

// FieldText returns a text field's value, or "" if it is absent or null.
func FieldText(fields map[string]json.RawMessage, name string) string {
	var s string
	if json.Unmarshal(fields[name], &s) != nil {
		return ""
	}
	return s
}
