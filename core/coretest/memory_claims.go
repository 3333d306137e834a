package coretest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Claim implements core.Claims.
func (m *Memory) Claim(_ context.Context, id int64, worker string, lease time.Duration) (*core.Request, core.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claim(id, worker, lease)
}

func (m *Memory) claim(id int64, worker string, lease time.Duration) (*core.Request, core.Claim, error) {
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
	case !m.turnInLane(r):
		return nil, core.Claim{}, sdk.Errorf(sdk.Conflict, "request %d waits for others in its lane", id)
	}
	if r.Worker != "" {
		r.TakeOvers++
	}
	r.Worker, r.NotBefore = text(worker), time.Time{}
	r.extend(now, lease)
	r.Epoch++
	r.Attempt++
	return r.copy(true), core.Claim{Request: id, Worker: r.Worker, Epoch: r.Epoch}, nil
}

// turnInLane tells that no other request of the lane has to end first.
func (m *Memory) turnInLane(r *memoryRequest) bool {
	if r.lane == "" {
		return true
	}
	for _, other := range m.requests {
		if other != r && other.lane == r.lane && !other.Final() && (other.ID < r.ID || other.Worker != "") {
			return false
		}
	}
	return true
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
