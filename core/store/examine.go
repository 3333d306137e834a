package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/sdk"
)

// Condition is what Examine has found out about a database.
type Condition struct {
	// System is the database's name and version, such as "PostgreSQL 15.5".
	System string
	// File is the database file of SQLite, and empty for others.
	File string
	// Missing tells that SQLite's file is not there yet. Nothing else is known
	// then but System, File, Newest and Oldest.
	Missing bool
	// Schema is the last migration that the database has had, 0 if none; Newest
	// is the last that this program knows. Oldest is the one that a program must
	// know to work on the database, after the migrations that this one would make.
	Schema, Newest, Oldest int64
	// Refused is why the database takes no writes of this user, empty if it does.
	Refused string
	// RoundTrip is how long a query takes that does nothing.
	RoundTrip time.Duration
	// Ahead is how far the database's clock is before this machine's; it is
	// negative for one that is behind, and 0 for SQLite, which has none.
	Ahead time.Duration
	// Sealed is how many requests have secrets, and Unopened how many of those
	// the keys do not open.
	Sealed, Unopened int
}

// Examine looks at the database at an address and changes nothing: a file that
// is missing is not made, and nothing is migrated. An address that is wrong is an
// Invalid error, and a database that does not answer an Unavailable one.
func Examine(ctx context.Context, address string, keys []Key) (*Condition, error) {
	ring, err := newKeyring(keys)
	if err != nil {
		return nil, err
	}
	steps, err := migrations()
	if err != nil {
		return nil, err
	}
	s := &Store{now: time.Now, listing: newListing()}
	s.watch.now, s.turns.now = s.now, s.now
	c := &Condition{Newest: int64(len(steps)), Oldest: oldestOf(steps)}
	if name, ok := strings.CutPrefix(address, "sqlite:"); ok {
		err = s.look(name, c)
	} else {
		err = s.connect(address, 1)
	}
	if err != nil || c.Missing {
		return c, err
	}
	err = s.snapshot(ctx, func(ctx context.Context, q querier) error { return c.read(ctx, q, s.dialect, ring, steps) })
	return c, errors.Join(s.fault(err, "look at the database"), s.Close())
}

// look opens a database file to read it only. SQLite keeps two files beside one
// that is in use; where they are not there it is told that nobody writes, so that
// it does not make them.
func (s *Store) look(name string, c *Condition) error {
	s.dialect = sqliteDialect
	path, err := sqlitePath(name)
	if err != nil {
		return err
	}
	c.File = path
	c.System = "SQLite"
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		c.Missing = true
		return nil
	}
	for _, needed := range []string{path, filepath.Dir(path)} {
		if err := unix.Access(needed, unix.W_OK); err != nil {
			c.Refused = fmt.Sprintf("%s cannot be written: %v", needed, err)
		}
	}
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(1)"}}
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		query.Set("immutable", "1")
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return fmt.Errorf("open database file: %w", err)
	}
	sessions := newSessions(db, 1)
	s.pools, s.snapshot, s.stop = []*sql.DB{db}, sessions.read, sessions.close
	return nil
}

func (c *Condition) read(ctx context.Context, q querier, d *dialect, ring keyring, steps []migration) error {
	if err := q.QueryRowContext(ctx, d.system).Scan(&c.System); err != nil {
		return err
	}
	c.System = d.name + " " + c.System
	began := time.Now()
	var clock float64
	if err := q.QueryRowContext(ctx, d.clock).Scan(&clock); err != nil {
		return err
	}
	c.RoundTrip = time.Since(began)
	if clock > 0 {
		// The answer was made about in the middle of the round trip.
		c.Ahead = time.UnixMicro(int64(clock * 1e6)).Sub(began.Add(c.RoundTrip / 2))
	}
	if d.refusal != "" {
		if err := q.QueryRowContext(ctx, d.refusal).Scan(&c.Refused); err != nil {
			return err
		}
	}
	v, err := readVersion(ctx, q, d, steps)
	if err != nil {
		return err
	}
	c.Schema, c.Oldest = v.at, v.oldest
	has := 0
	if err := q.QueryRowContext(ctx, d.hasTable, "secrets").Scan(&has); err != nil || has == 0 {
		return err
	}
	return c.tryKeys(ctx, q, ring)
}

// tryKeys opens what is sealed, which is no more than the requests that run or
// wait have.
func (c *Condition) tryKeys(ctx context.Context, q querier, ring keyring) error {
	rows, err := q.QueryContext(ctx, `SELECT request, sealed FROM secrets ORDER BY request LIMIT 1000`)
	if err != nil {
		return err
	}
	defer rows.Close()
	c.Sealed, c.Unopened = 0, 0
	for rows.Next() {
		var request int64
		var sealed []byte
		if err := rows.Scan(&request, &sealed); err != nil {
			return err
		}
		c.Sealed++
		if _, _, err := ring.open(request, sealed); err != nil {
			c.Unopened++
		}
	}
	return rows.Err()
}

// sqlitePath returns the file that an address names: all after "sqlite:", less
// the two slashes of an empty host.
func sqlitePath(name string) (string, error) {
	name = strings.TrimPrefix(name, "//")
	if name == "" {
		return "", sdk.Errorf(sdk.Invalid, "database address: sqlite: names no file")
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return "", sdk.Errorf(sdk.Invalid, "database file %s: %v", name, err)
	}
	return path, nil
}
