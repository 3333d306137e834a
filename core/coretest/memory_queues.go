package coretest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// ClaimNext implements core.Claims.
func (m *Memory) ClaimNext(_ context.Context, queue, worker string, lease time.Duration) (*core.Request, core.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.next(text(queue))
	if next == nil {
		return nil, core.Claim{}, sdk.Errorf(sdk.NotFound, "nothing waits in queue %s", queue)
	}
	r, claim, err := m.claim(next.ID, worker, lease)
	if err == nil {
		m.served = append(m.served, [2]string{r.Queue, r.User})
	}
	return r, claim, err
}

// next returns the request of a queue that is next, nil if there is none.
func (m *Memory) next(queue string) *memoryRequest {
	running := make(map[string]int)
	for _, r := range m.requests {
		if r.Queue == queue && r.Worker != "" {
			running[r.User]++
		}
	}
	served := make(map[string]int)
	for i, turn := range m.served {
		if turn[0] == queue {
			served[turn[1]] = i + 1
		}
	}
	var best *memoryRequest
	for _, r := range m.requests {
		if r.Queue != queue || !m.ready(r) {
			continue
		}
		before := best == nil || running[r.User] < running[best.User] ||
			running[r.User] == running[best.User] && served[r.User] < served[best.User]
		if before {
			best = r
		}
	}
	return best
}

// ready tells that a request could be started now.
func (m *Memory) ready(r *memoryRequest) bool {
	_, paused := m.pauses[r.Queue]
	return !paused && !r.Final() && r.Worker == "" && r.wait(m.now()) == 0 && m.turnInLane(r)
}

// Queues implements core.Queues.
func (m *Memory) Queues(context.Context) ([]core.QueueStanding, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []core.QueueStanding
	for _, r := range m.requests {
		if r.Final() {
			continue
		}
		i := slices.IndexFunc(all, func(q core.QueueStanding) bool { return q.Name == r.Queue })
		if i < 0 {
			i, all = len(all), append(all, core.QueueStanding{Name: r.Queue})
		}
		if r.Worker != "" {
			all[i].Running++
			continue
		}
		all[i].Waiting++
		if m.ready(r) {
			all[i].Ready++
		}
	}
	for name, p := range m.pauses {
		i := slices.IndexFunc(all, func(q core.QueueStanding) bool { return q.Name == name })
		if i < 0 {
			i, all = len(all), append(all, core.QueueStanding{Name: name})
		}
		all[i].Pause = &p
	}
	slices.SortFunc(all, func(a, b core.QueueStanding) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Recover implements core.Queues.
func (m *Memory) Recover(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, r := range m.requests {
		if r.Worker != "" && !now.Before(r.expires) {
			r.TakeOvers++
			r.free()
		}
	}
	return nil
}

// Pause implements core.Queues.
func (m *Memory) Pause(_ context.Context, queue, by, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pauses[text(queue)] = core.Pause{By: text(by), Reason: text(reason), Since: m.moment()}
	return nil
}

// Resume implements core.Queues.
func (m *Memory) Resume(_ context.Context, queue string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pauses, text(queue))
	return nil
}
