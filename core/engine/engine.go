package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Roster lends the plugins that are in force.
type Roster interface {
	// Acquire returns the line-up and keeps its plugins alive until release.
	Acquire() (lineup core.Lineup, release func())
}

// Queue carries the hint that a request waits in a queue to a worker, which takes
// from the store what is next there. Losing hints is harmless, and so are more of
// them than there are requests.
type Queue interface {
	// Tell adds a hint.
	Tell(ctx context.Context, queue string) error
	// Fill adds hints until the queue has as many as requests are ready.
	Fill(ctx context.Context, queue string, ready int64) error
}

// Options are what an engine is made of. All are required unless it says so.
type Options struct {
	Store     core.Store
	Queue     Queue
	Roster    Roster
	Images    core.Images
	Tags      core.Tags
	Logs      core.Logs
	Artifacts core.Files
	Settings  *Settings
	// Worker names this process among all that share the store.
	Worker string
	// WorkDir holds a workspace per run, CacheDir what plugins keep by digest.
	WorkDir  string
	CacheDir string
	Logger   *slog.Logger
	// Lease is how long a claim holds without being renewed; it bounds how
	// long a dead worker's request stays orphaned. Zero means DefaultLease.
	Lease time.Duration
	// Judge applies a handler's description to a submission, where its plugin
	// does not judge them; if it is nil they are accepted as they are.
	Judge func(doc *sdk.HandlerDoc, sub *sdk.Submission) error
	// Tracer records what requests do; nil records nothing.
	Tracer core.Tracer
	// Ended is told of each request that ended here, if it is not nil.
	Ended func(r *core.Request, state core.State)
}

// DefaultLease keeps the takeover of a dead worker's request within 3 seconds:
// lease plus one round of the reconciler.
const DefaultLease = 2 * time.Second

// reconcileEvery is how often the store is asked for requests that no queue
// knows of.
const reconcileEvery = 500 * time.Millisecond

// Settings are what a reload of the configuration may change. They are
// immutable; requests keep those they began with.
type Settings struct {
	// Route chooses the queue of a user's request of a type for an index.
	Route func(requestType, user, target string, overwrite bool) string
	// Queue returns the limits of a queue.
	Queue func(name string) QueueSettings
	// Privileged users may overwrite an index without a token.
	Privileged []string
	// ForceOverwrite makes the add and rm requests of these users overwrite
	// their index, whatever the submission says.
	ForceOverwrite bool
	// Slots bounds what runs in the process, over all queues; 0 is no limit.
	Slots int
	// OCI asks for OCI media types in what is built.
	OCI bool
	// Representation renders what notifiers get; its Handler is not used.
	Representation core.Representation
}

// QueueSettings are the limits of the requests on one queue.
type QueueSettings struct {
	// Timeout ends a run that takes longer.
	Timeout time.Duration
	// Attempts bounds the runs of a request that ended by a transient fault.
	Attempts int
	// Serial tells what runs one after another, over all processes.
	Serial Serial
	// Priority tells who goes first where requests of several queues wait for the
	// same slot; more is sooner.
	Priority int
}

// Engine accepts requests and runs them. It is safe for concurrent use.
type Engine struct {
	Options
	settings atomic.Pointer[Settings]

	mu   sync.Mutex
	runs map[int64]*run

	changed *broadcast
	lineup  *broadcast

	// previews bounds the dry runs at one time.
	previews chan struct{}

	slots slots

	// untold are the queues of requests that were accepted here.
	untold chan string
	// moved has a value when a lane may have moved on.
	moved chan struct{}
	// away is set while the store does not answer.
	away atomic.Bool
}

// New returns an engine that accepts requests at once, and runs them when its
// Dispatch, its Reconcile and a queue that calls its Run are started.
func New(o Options) *Engine {
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Tracer == nil {
		o.Tracer = core.Untraced{}
	}
	e := &Engine{
		Options: o, runs: make(map[int64]*run), changed: newBroadcast(), lineup: newBroadcast(),
		previews: make(chan struct{}, maxPreviews), untold: make(chan string, maxUntold), moved: make(chan struct{}, 1),
	}
	e.Configure(o.Settings)
	return e
}

// Configure replaces the settings for requests that begin from now on.
func (e *Engine) Configure(s *Settings) {
	e.settings.Store(s)
	e.slots.setLimit(s.Slots)
}

// Changed returns a channel that is closed at the next change of any request
// in this process: a hint for those who follow, not a promise.
func (e *Engine) Changed() <-chan struct{} { return e.changed.wait() }

func (s *Settings) privileged(user string) bool {
	return user != "" && slices.Contains(s.Privileged, user)
}

// forces tells whether a request overwrites its index though it does not say
// so (API contract, section 2.13).
func (s *Settings) forces(requestType, user string) bool {
	return s.ForceOverwrite && s.privileged(user) && (requestType == "add" || requestType == "rm")
}

// broadcast wakes all who wait.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{ch: make(chan struct{})} }

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
