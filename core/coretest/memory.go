package coretest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Memory is a core.Store that keeps everything in this process, for tests. It
// is slow with many requests, on purpose simple, and makes no copies of JSON
// values: nobody edits those in place.
type Memory struct {
	now func() time.Time

	mu        sync.Mutex
	requests  []*memoryRequest // by ID, from 1
	batches   []*memoryBatch   // by ID, from 1
	events    []core.Event
	images    map[string]bool
	keys      map[[2]string]memoryKey
	locks     map[string]core.Claim
	notifiers map[string]*memoryNotifier
}

type memoryRequest struct {
	core.Request
	// expires is Lease with the clock's monotonic reading, released the
	// beginning of the delay that ends at NotBefore.
	expires  time.Time
	released time.Time
	secrets  map[string]sdk.Secret
	grants   []sdk.Grant
}

type memoryBatch struct {
	annotations json.RawMessage
	user        string
	members     []*memoryRequest
}

type memoryKey struct {
	digest string
	batch  int64
}

var _ core.Store = (*Memory)(nil)

// NewMemory returns an empty store. Its clock is now, time.Now if nil; inside
// testing/synctest the latter is the bubble's.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, images: make(map[string]bool), keys: make(map[[2]string]memoryKey)}
}

// Ping implements core.Store.
func (m *Memory) Ping(context.Context) error { return nil }

// Close implements core.Store.
func (m *Memory) Close() error { return nil }

// Create implements core.Submissions.
func (m *Memory) Create(_ context.Context, batch *core.NewBatch) ([]*core.Request, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(batch.Requests) == 0 {
		return nil, false, sdk.Errorf(sdk.Invalid, "a batch must have at least one request")
	}
	annotations := batch.Annotations
	if len(annotations) == 0 || string(annotations) == "null" {
		annotations = nil
	} else if !isObject(annotations) {
		return nil, false, sdk.FieldErrorf("annotations", "annotations must be a JSON object")
	}
	for _, n := range batch.Requests {
		if len(n.Params) > 0 && !isObject(n.Params) {
			return nil, false, sdk.FieldErrorf("params", "params must be a JSON object")
		}
	}
	key := [2]string{text(batch.User), text(batch.IdempotencyKey)}
	if earlier, ok := m.keys[key]; ok && batch.IdempotencyKey != "" {
		if earlier.digest != batch.Digest {
			return nil, false, sdk.Errorf(sdk.Conflict, "the idempotency key %q was used for another submission", batch.IdempotencyKey)
		}
		return copies(m.batches[earlier.batch-1].members, true), true, nil
	}
	b := &memoryBatch{annotations: annotations, user: text(batch.User)}
	m.batches = append(m.batches, b)
	id := int64(len(m.batches))
	if batch.IdempotencyKey != "" {
		m.keys[key] = memoryKey{digest: batch.Digest, batch: id}
	}
	at := m.moment()
	for i := range batch.Requests {
		r := m.newRequest(&batch.Requests[i], at)
		r.Batch, r.User, r.BatchAnnotations = id, b.user, annotations
		b.members = append(b.members, r)
	}
	for _, r := range b.members {
		m.tellRequest(r)
	}
	m.tellBatch(id, core.InProgress, at)
	return copies(b.members, true), false, nil
}

func (m *Memory) newRequest(n *core.NewRequest, at time.Time) *memoryRequest {
	r := &memoryRequest{secrets: maps.Clone(n.Secrets), grants: slices.Clone(n.Grants)}
	m.requests = append(m.requests, r)
	r.ID = int64(len(m.requests))
	r.Type, r.Queue, r.Target = text(n.Type), text(n.Queue), text(n.Target)
	r.Overwrite, r.Accepted = n.Overwrite, at
	if r.Params = n.Params; len(r.Params) == 0 {
		r.Params = json.RawMessage(`{}`)
	}
	if r.Fields = maps.Clone(n.Fields); r.Fields == nil {
		r.Fields = make(map[string]json.RawMessage)
	}
	r.Arches = []string{}
	r.History = []core.StateEntry{{State: core.InProgress, Reason: text(n.Reason), Time: at}}
	m.see(n.Images)
	return r
}

// Request implements core.Requests.
func (m *Memory) Request(_ context.Context, id int64) (*core.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return nil, err
	}
	return r.copy(true), nil
}

// List implements core.Requests.
func (m *Memory) List(_ context.Context, f core.Filter, p core.Page) ([]*core.Request, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := p.Size
	if size <= 0 {
		size = 20
	}
	var matches, page []*memoryRequest
	for _, r := range slices.Backward(m.requests) {
		if r.matches(f) {
			matches = append(matches, r)
		}
	}
	if p.Before > 0 {
		for _, r := range matches {
			if r.ID < p.Before && len(page) < size {
				page = append(page, r)
			}
		}
	} else if number := max(p.Number, 1); number-1 <= len(matches)/size {
		page = matches[(number-1)*size : min(number*size, len(matches))]
	}
	return copies(page, p.History), int64(len(matches)), nil
}

func (r *memoryRequest) matches(f core.Filter) bool {
	from := core.FieldText(r.Fields, "from_index")
	return (f.State == "" || r.State().State == f.State) &&
		(!f.HasBatch || r.Batch == f.Batch) &&
		(f.Type == "" || r.Type == f.Type) &&
		(f.User == "" || r.User == text(f.User)) &&
		(f.IndexImage == "" || core.FieldText(r.Fields, "index_image") == f.IndexImage) &&
		(f.FromIndex == "" || from == f.FromIndex) &&
		strings.HasPrefix(from, f.FromIndexPrefix)
}

// ImageSeen implements core.Requests.
func (m *Memory) ImageSeen(_ context.Context, image string, prefix bool) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	image = text(image)
	for seen := range m.images {
		if seen == image || prefix && strings.HasPrefix(seen, image) {
			return true, nil
		}
	}
	return false, nil
}

// Patch implements core.Requests.
func (m *Memory) Patch(_ context.Context, id int64, change *core.Change) (*core.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return nil, err
	}
	return m.apply(r, change)
}

// Cancel implements core.Requests.
func (m *Memory) Cancel(_ context.Context, id int64, reason string) (*core.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return nil, err
	}
	if r.Final() {
		return nil, r.ended()
	}
	r.CancelReason = text(reason)
	return m.apply(r, &core.Change{State: core.Failed, Reason: reason})
}

// Change implements core.Claims.
func (m *Memory) Change(_ context.Context, claim core.Claim, change *core.Change) (*core.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.held(claim)
	if err != nil {
		return nil, err
	}
	return m.apply(r, change)
}

func (m *Memory) apply(r *memoryRequest, change *core.Change) (*core.Request, error) {
	newest := r.State()
	if change.State == "" && change.Reason != "" {
		return nil, sdk.FieldErrorf("state", "a reason comes with a state")
	}
	if change.State != "" {
		if err := core.CheckTransition(newest.State, change.State); err != nil {
			return nil, err
		}
	}
	m.see(change.Images)
	r.Arches = slices.Concat(r.Arches, change.Arches)
	slices.Sort(r.Arches)
	r.Arches = slices.Compact(r.Arches)
	r.Fields = maps.Clone(r.Fields)
	maps.Copy(r.Fields, change.Fields)

	reason := text(change.Reason)
	if change.State == "" || change.State == newest.State && reason == newest.Reason {
		return r.copy(true), nil
	}
	at := m.moment()
	if at.Before(newest.Time) {
		at = newest.Time
	}
	r.History = slices.Insert(slices.Clone(r.History), 0, core.StateEntry{State: change.State, Reason: reason, Time: at})
	if r.Final() {
		r.free()
		r.secrets, r.grants, r.NotBefore = nil, nil, time.Time{}
	}
	m.tellRequest(r)
	if state := m.batchState(r.Batch); state.Final() {
		m.tellBatch(r.Batch, state, at)
	}
	return r.copy(true), nil
}

// Claim implements core.Claims.
func (m *Memory) Claim(_ context.Context, id int64, worker string, lease time.Duration) (*core.Request, core.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return nil, core.Claim{}, err
	}
	now := m.now()
	switch {
	case worker == "" || lease <= 0:
		return nil, core.Claim{}, sdk.Errorf(sdk.Internal, "claim request %d: it takes a worker's name and a lease", id)
	case r.Final():
		return nil, core.Claim{}, r.ended()
	case r.Worker != "" && now.Before(r.expires):
		return nil, core.Claim{}, sdk.Errorf(sdk.Conflict, "request %d is claimed by worker %s", id, r.Worker)
	case r.Worker == "" && r.wait(now) > 0:
		return nil, core.Claim{}, sdk.Errorf(sdk.Conflict, "request %d waits until %s", id, r.NotBefore)
	}
	r.Worker, r.NotBefore = text(worker), time.Time{}
	r.extend(now, lease)
	r.Epoch++
	r.Attempt++
	return r.copy(true), core.Claim{Request: id, Worker: r.Worker, Epoch: r.Epoch}, nil
}

// Renew implements core.Claims.
func (m *Memory) Renew(_ context.Context, claim core.Claim, lease time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.held(claim)
	if err != nil {
		return err
	}
	r.extend(m.now(), lease)
	return nil
}

// Release implements core.Claims.
func (m *Memory) Release(_ context.Context, claim core.Claim, delay time.Duration, uncounted bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.held(claim)
	if err != nil {
		return err
	}
	r.free()
	r.released = m.moment()
	r.NotBefore = r.released.Add(max(0, delay))
	if uncounted {
		r.Attempt--
	}
	return nil
}

// Secrets implements core.Claims.
func (m *Memory) Secrets(_ context.Context, claim core.Claim) (map[string]sdk.Secret, []sdk.Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.held(claim)
	if err != nil {
		return nil, nil, err
	}
	secrets := make(map[string]sdk.Secret)
	maps.Copy(secrets, r.secrets)
	return secrets, slices.Clone(r.grants), nil
}

// Runnable implements core.Claims.
func (m *Memory) Runnable(_ context.Context, after int64, limit int) ([]core.Dispatch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var found []core.Dispatch
	for _, r := range m.requests {
		if r.ID <= after || r.Final() || len(found) >= limit {
			continue
		}
		if r.Worker != "" {
			if now.Before(r.expires) {
				continue
			}
			r.free()
		}
		found = append(found, core.Dispatch{Request: r.ID, Queue: r.Queue, Epoch: r.Epoch, Wait: r.wait(now)})
	}
	return found, nil
}

// EventsAfter implements core.Events.
func (m *Memory) EventsAfter(_ context.Context, sequence int64, limit int) ([]core.Event, error) {
	return m.eventsAfter(sequence, limit, func(core.Event) bool { return true }), nil
}

// RequestEventsAfter implements core.Events.
func (m *Memory) RequestEventsAfter(_ context.Context, request, sequence int64, limit int) ([]core.Event, error) {
	return m.eventsAfter(sequence, limit, func(e core.Event) bool { return e.Request == request }), nil
}

// LastEvent implements core.Events.
func (m *Memory) LastEvent(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.events)), nil
}

func (m *Memory) eventsAfter(sequence int64, limit int, choose func(core.Event) bool) []core.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []core.Event
	for _, e := range m.events {
		if e.Sequence <= sequence || len(found) >= limit || !choose(e) {
			continue
		}
		found = append(found, m.event(e.Sequence))
	}
	return found
}

// event returns a copy of one.
func (m *Memory) event(sequence int64) core.Event {
	e := m.events[sequence-1]
	if e.Snapshot != nil {
		e.Snapshot = copyRequest(e.Snapshot, false)
	}
	e.Members = slices.Clone(e.Members)
	return e
}

// tellRequest adds the event of a request's newest state.
func (m *Memory) tellRequest(r *memoryRequest) {
	snapshot := r.copy(false)
	snapshot.Attempt, snapshot.Epoch, snapshot.CancelReason = 0, 0, ""
	snapshot.Worker, snapshot.Lease, snapshot.NotBefore = "", time.Time{}, time.Time{}
	m.events = append(m.events, core.Event{
		Sequence: int64(len(m.events)) + 1,
		Kind:     core.RequestEvent,
		Time:     r.State().Time,
		Request:  r.ID,
		Batch:    r.Batch,
		State:    r.State().State,
		User:     r.User,
		Snapshot: snapshot,
	})
}

func (m *Memory) tellBatch(id int64, state core.State, at time.Time) {
	b := m.batches[id-1]
	e := core.Event{
		Sequence:    int64(len(m.events)) + 1,
		Kind:        core.BatchEvent,
		Time:        at,
		Batch:       id,
		State:       state,
		User:        b.user,
		Annotations: b.annotations,
	}
	for _, r := range b.members {
		member := core.BatchMember{ID: r.ID, Type: r.Type}
		if organization := core.FieldText(r.Fields, "organization"); organization != "" {
			member.Organization = &organization
		}
		e.Members = append(e.Members, member)
	}
	m.events = append(m.events, e)
}

func (m *Memory) batchState(id int64) core.State {
	var states []core.State
	for _, r := range m.batches[id-1].members {
		states = append(states, r.State().State)
	}
	return core.BatchState(states)
}

func (m *Memory) find(id int64) (*memoryRequest, error) {
	if id < 1 || id > int64(len(m.requests)) {
		return nil, sdk.Errorf(sdk.NotFound, "request %d does not exist", id)
	}
	return m.requests[id-1], nil
}

// held returns the request that a claim is in force for.
func (m *Memory) held(claim core.Claim) (*memoryRequest, error) {
	r, err := m.find(claim.Request)
	switch {
	case err != nil:
		return nil, err
	case r.Final():
		return nil, r.ended()
	case r.Worker == "" || r.Worker != claim.Worker || r.Epoch != claim.Epoch:
		return nil, sdk.Errorf(sdk.Conflict, "worker %s has lost its claim %d on request %d", claim.Worker, claim.Epoch, r.ID)
	}
	return r, nil
}

func (m *Memory) see(images []string) {
	for _, image := range images {
		m.images[text(image)] = true
	}
}

func (m *Memory) moment() time.Time { return m.now().UTC().Truncate(time.Microsecond) }

func (r *memoryRequest) ended() error {
	err := sdk.Errorf(sdk.Conflict, "request %d has ended already: it is %s", r.ID, r.State().State)
	err.Reason = core.ReasonFinal
	return err
}

func (r *memoryRequest) extend(now time.Time, lease time.Duration) {
	r.expires = now.Add(lease)
	r.Lease = r.expires.UTC().Truncate(time.Microsecond)
}

func (r *memoryRequest) free() { r.Worker, r.Lease = "", time.Time{} }

// wait returns how much is left of the delay before the next attempt.
func (r *memoryRequest) wait(now time.Time) time.Duration {
	if now.Before(r.released) {
		return 0
	}
	return max(0, r.NotBefore.Sub(now))
}

func (r *memoryRequest) copy(history bool) *core.Request { return copyRequest(&r.Request, history) }

func copyRequest(r *core.Request, history bool) *core.Request {
	c := *r
	c.History = slices.Clone(c.History)
	if !history {
		c.History = c.History[:1]
	}
	c.Arches = append([]string{}, c.Arches...)
	c.Fields = maps.Clone(c.Fields)
	return &c
}

func copies(rs []*memoryRequest, history bool) []*core.Request {
	var all []*core.Request
	for _, r := range rs {
		all = append(all, r.copy(history))
	}
	return all
}

func isObject(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object != nil
}

// text replaces what a database cannot keep in a text.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
