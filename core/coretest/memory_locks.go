package coretest

import (
	"context"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Lock implements core.Locks.
func (m *Memory) Lock(_ context.Context, name string, claim core.Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.held(claim); err != nil {
		return err
	}
	if holder, taken := m.locks[name]; taken && holder != claim {
		r, err := m.held(holder)
		if err == nil && m.now().Before(r.expires) {
			return sdk.Errorf(sdk.Conflict, "the lock of %s is held by request %d", name, holder.Request)
		}
	}
	if m.locks == nil {
		m.locks = make(map[string]core.Claim)
	}
	m.locks[name] = claim
	return nil
}

// Unlock implements core.Locks.
func (m *Memory) Unlock(_ context.Context, name string, claim core.Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] == claim {
		delete(m.locks, name)
	}
	return nil
}
