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
	moves     []*memoryMove
	moved     int64
	pauses    map[string]core.Pause
	served    [][2]string // queue and user of each turn, in their order
}

type memoryRequest struct {
	core.Request
	// expires is Lease with the clock's monotonic reading, released the
	// beginning of the delay that ends at NotBefore.
	expires  time.Time
	released time.Time
	lane     string
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
	return &Memory{now: now, images: make(map[string]bool), keys: make(map[[2]string]memoryKey), pauses: make(map[string]core.Pause)}
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
	r.lane, r.Trace = text(n.Lane), text(n.Trace)
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
		(f.Type != "" || len(f.Types) == 0 || slices.Contains(f.Types, r.Type)) &&
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
	change, err := change.Settled(r.Fields)
	if err != nil {
		return nil, err
	}
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
