// Package store keeps the engine's requests in SQL: in a SQLite file that
// several processes of one machine may share, or in PostgreSQL. It implements
// core.Store, and passes coretest.Store on both.
//
// # Durability
//
// A method that has returned without an error has its effects on the disk. On
// SQLite, writes that wait for each other share one transaction, so that the
// price of a flush is paid once for all of them.
//
// # Order of events
//
// Sequences are taken from a counter row as the last thing a transaction does,
// and the row stays locked until the commit. So sequences grow in the order of
// the commits on PostgreSQL too, where an identity column would not do that:
// whoever has read event n will never see a smaller one appear.
//
// # Time
//
// Nothing is decided by comparing the clocks of two processes. A claim is dead
// when a process has seen its beat stand still for as long as its lease, by
// that process's monotonic clock; the stored expiry is for people. A jump of
// the wall clock therefore neither kills a claim nor keeps it alive; it can
// only shorten the delay before a next attempt. A history never goes back in
// time: an entry is at least as late as the one before.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Options are what a database address does not say.
type Options struct {
	// Keys seal the requests' secrets: the first seals, all open. Without one,
	// a request that has secrets is refused.
	Keys []Key
	// Readers is how many reads may run at once; on PostgreSQL, how many
	// connections there are in all. 0 means a number that fits the machine.
	Readers int
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Store is a core.Store on a SQL database.
type Store struct {
	dialect *dialect
	// pools are what Close gives back: PostgreSQL has one, SQLite one to write
	// and one to read.
	pools []*sql.DB
	// write and read run an operation in a transaction; the outcome of a write
	// whose error is nil is on the disk.
	transact func(ctx context.Context, run operation) error
	snapshot func(ctx context.Context, run operation) error
	// stop waits for what is under way.
	stop func()

	ring    keyring
	now     func() time.Time
	watch   watch[int64]
	turns   watch[string]
	listing *listing
}

var _ core.Store = (*Store)(nil)

// Open opens the database at an address such as sqlite:///var/lib/iib/iib.db,
// sqlite:iib.db or postgres://iib@db.example.com/iib, and brings its schema to
// this program's version. A database of a newer version is left as it is, and a
// Conflict error if programs of this version do not work on it.
func Open(ctx context.Context, address string, options Options) (*Store, error) {
	ring, err := newKeyring(options.Keys)
	if err != nil {
		return nil, err
	}
	if options.Readers <= 0 {
		options.Readers = defaultReaders()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Store{ring: ring, now: options.Now, listing: newListing()}
	s.watch.now, s.turns.now = options.Now, options.Now
	if err := s.connect(address, options.Readers); err != nil {
		return nil, err
	}
	steps, err := migrations()
	if err == nil {
		err = migrate(ctx, s.pools[0], s.dialect, steps)
	}
	if err != nil {
		return nil, errors.Join(s.fault(err, "open the database"), s.Close())
	}
	return s, nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	err := s.read(ctx, func(t *tx) error {
		var one int
		return t.row(`SELECT 1`).Scan(&one)
	})
	return s.fault(err, "ping the database")
}

// Close waits for what is under way and gives the connections back. Calls that
// come later are Unavailable.
func (s *Store) Close() error {
	s.stop()
	var errs []error
	for _, db := range s.pools {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

// querier is what *sql.Tx and *sql.Conn have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// write runs op in a transaction that is on the disk when write returns nil.
// op may run more than once and must not keep what an earlier run has left.
func (s *Store) write(ctx context.Context, op func(t *tx) error) error {
	return s.transact(ctx, func(ctx context.Context, q querier) error {
		t := &tx{ctx: ctx, q: q, d: s.dialect, now: s.moment()}
		if err := op(t); err != nil {
			return err
		}
		return t.flush()
	})
}

// read runs op in a transaction that sees one moment of the database.
func (s *Store) read(ctx context.Context, op func(t *tx) error) error {
	return s.snapshot(ctx, func(ctx context.Context, q querier) error {
		return op(&tx{ctx: ctx, q: q, d: s.dialect, now: s.moment()})
	})
}

// moment returns the time as it is stored: UTC and microseconds.
func (s *Store) moment() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// fault gives an error its code and says what was tried. An *sdk.Error passes
// unchanged: it came from this package and names its object already.
func (s *Store) fault(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var known *sdk.Error
	if errors.As(err, &known) {
		return err
	}
	code := sdk.Internal
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errClosed):
		code = sdk.Unavailable
	case errors.Is(err, context.DeadlineExceeded), s.dialect.unavailable(err):
		code = sdk.Unavailable
		// While the database was away nobody could renew, so what has been
		// seen of claims and turns before says nothing about their workers.
		s.watch.reset()
		s.turns.reset()
	}
	coded := sdk.Errorf(code, "%s: %w", fmt.Sprintf(format, args...), err)
	// PostgreSQL's driver tells of several addresses on several lines.
	coded.Message = strings.Join(strings.Fields(coded.Message), " ")
	return coded
}
