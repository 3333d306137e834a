package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A group takes at most so many writes, and new ones only for so long: the
// first of them waits for the last.
const (
	groupWrites = 64
	groupTime   = 5 * time.Millisecond
)

var errClosed = errors.New("the store is closed")

// group is SQLite's one writer. Whatever writes wait while it flushes to the
// disk make up the next transaction, each in a savepoint of its own: one that
// fails leaves nothing behind and does not disturb the others.
type group struct {
	// session belongs to the goroutine of run.
	session session
	line    chan *member
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once
}

// operation is the inside of a transaction. It may run more than once and must
// not keep what an earlier run has left.
type operation func(ctx context.Context, q querier) error

// member is a write that somebody waits for.
type member struct {
	run operation
	err error
	// done is closed when err is the outcome.
	done chan struct{}

	mu sync.Mutex
	// begun and abandoned exclude each other.
	begun, abandoned bool
}

// begin reports whether the write is still wanted.
func (m *member) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun = !m.abandoned
	return m.begun
}

// abandon reports whether the write was withdrawn in time.
func (m *member) abandon() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abandoned = !m.begun
	return m.abandoned
}

func newGroup(db *sql.DB) *group {
	g := &group{
		session: session{db: db},
		line:    make(chan *member, groupWrites),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	go g.run()
	return g
}

// write runs an operation and returns when it is on the disk or undone. A
// context that ends withdraws one that has not begun; one that has is awaited,
// so that its outcome is known.
func (g *group) write(ctx context.Context, run operation) error {
	m := &member{run: run, done: make(chan struct{})}
	select {
	case g.line <- m:
	case <-g.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.done:
		return m.err
	case <-g.closed:
	case <-ctx.Done():
		if m.abandon() {
			return ctx.Err()
		}
	}
	select {
	case <-m.done:
		return m.err
	case <-g.closed:
	}
	select {
	case <-m.done:
		return m.err
	default:
		// It came into the line after the last look at it.
		return errClosed
	}
}

// close waits for the writes that are in the line.
func (g *group) close() {
	g.once.Do(func() { close(g.closing) })
	<-g.closed
}

// run is the writer's life. Writes do not see their callers' contexts: SQLite
// answers an interrupted statement by rolling back the whole transaction.
func (g *group) run() {
	defer close(g.closed)
	defer g.session.disconnect()
	for {
		select {
		case m := <-g.line:
			g.commit(context.Background(), m)
		case <-g.closing:
			select {
			case m := <-g.line:
				g.commit(context.Background(), m)
			default:
				return
			}
		}
	}
}

// commit runs a write, and those that come meanwhile, in one transaction.
func (g *group) commit(ctx context.Context, first *member) {
	if !first.begin() {
		return
	}
	members := []*member{first}
	err := g.transact(ctx, func(ctx context.Context, q querier) error {
		deadline := time.Now().Add(groupTime)
		for m := first; m != nil; m = g.next(&members, deadline) {
			if err := m.savepoint(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
	for _, m := range members {
		if err != nil && len(members) > 1 {
			// The transaction as a whole was lost, perhaps by another's fault.
			m.finish(g.transact(ctx, m.savepoint))
		} else {
			m.finish(err)
		}
	}
}

func (g *group) transact(ctx context.Context, run operation) error {
	return g.session.transact(ctx, `BEGIN IMMEDIATE`, run)
}

// next adds a waiting write to the group and returns it, nil if the group is
// complete.
func (g *group) next(members *[]*member, deadline time.Time) *member {
	for len(*members) < groupWrites && time.Now().Before(deadline) {
		select {
		case m := <-g.line:
			if m.begin() {
				*members = append(*members, m)
				return m
			}
		default:
			return nil
		}
	}
	return nil
}

// savepoint runs the write so that its error, which it keeps, undoes it alone.
// The returned error means that the transaction cannot go on.
func (m *member) savepoint(ctx context.Context, q querier) error {
	if _, err := q.ExecContext(ctx, `SAVEPOINT member`); err != nil {
		return err
	}
	if m.err = m.run(ctx, q); m.err != nil {
		if _, err := q.ExecContext(ctx, `ROLLBACK TO member`); err != nil {
			// SQLite has rolled back everything, as it does when the disk is full.
			return fmt.Errorf("%w (%v)", m.err, err)
		}
	}
	_, err := q.ExecContext(ctx, `RELEASE member`)
	return err
}

// finish tells the outcome: the write's own error before its transaction's.
func (m *member) finish(err error) {
	if m.err == nil {
		m.err = err
	}
	close(m.done)
}
