package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite" // also the driver "sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/iib-engine/iib/sdk"
)

// dialect is all in which the two databases differ. Queries are written once,
// with $1, $2, ..., which both understand.
type dialect struct {
	name string
	// types fills in the angle brackets of a migration.
	types *strings.Replacer
	// lockSchema keeps other processes from migrating until the transaction ends,
	// and has what waits for those who work give up soon.
	lockSchema string
	// hasTable counts the tables of the name $1.
	hasTable string
	// system asks for the version, and clock for the time in seconds, 0 where that
	// is this machine's. refusal asks why this user may not write: "" if it may;
	// it is empty where a file's permissions tell.
	system, clock, refusal string
	// forUpdate ends a query that locks the rows it reads.
	forUpdate string
	// tryUpdate is forUpdate that passes over rows which others have locked.
	tryUpdate string
	// laneLock takes a lock on the name $1 until the transaction ends; empty where
	// only one writes at a time.
	laneLock string
	// unavailable reports whether an error lies with the database or the way
	// to it and not with the query.
	unavailable func(error) bool
}

// sqliteDialect is SQLite. One transaction writes at a time, so that nothing
// needs to be locked within.
var sqliteDialect = &dialect{
	name: "SQLite",
	types: strings.NewReplacer(
		"<id>", "INTEGER PRIMARY KEY AUTOINCREMENT",
		"<int>", "INTEGER",
		"<bool>", "INTEGER",
		"<text>", "TEXT",
		"<bytes>", "BLOB",
		"<table>", "STRICT",
		"<clustered>", "STRICT, WITHOUT ROWID",
		" <given id>", "",
	),
	hasTable:    `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`,
	system:      `SELECT sqlite_version()`,
	clock:       `SELECT 0.0`,
	unavailable: sqliteUnavailable,
}

// postgresDialect is PostgreSQL. Text is compared by its bytes, as in SQLite,
// whatever the locale of the cluster.
var postgresDialect = &dialect{
	name: "PostgreSQL",
	types: strings.NewReplacer(
		"<id>", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		"<int>", "BIGINT",
		"<bool>", "BOOLEAN",
		"<text>", `TEXT COLLATE "C"`,
		"<bytes>", "BYTEA",
		" <table>", "",
		" <clustered>", "",
		" <given id>", " OVERRIDING SYSTEM VALUE",
	),
	// Less than the second after which PostgreSQL ends one of two that wait for
	// each other, so that it is never one of those who work.
	lockSchema: `SELECT pg_advisory_xact_lock(5277655813324800); SET LOCAL lock_timeout = '500ms'`,
	hasTable:   `SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = $1`,
	system:     `SELECT split_part(current_setting('server_version'), ' ', 1)`,
	clock:      `SELECT extract(epoch FROM clock_timestamp())::float8`,
	refusal: `SELECT CASE
		WHEN pg_is_in_recovery() THEN 'it is a standby, which only reads'
		WHEN current_setting('default_transaction_read_only') = 'on' THEN 'its transactions are read-only (default_transaction_read_only)'
		WHEN current_schema() IS NULL THEN 'the user ' || current_user || ' has no schema in its search_path'
		WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN 'the user ' || current_user || ' may not create tables in the schema ' || current_schema()
		WHEN to_regclass('requests') IS NOT NULL AND NOT has_table_privilege(to_regclass('requests'), 'INSERT, UPDATE') THEN 'the user ' || current_user || ' may not write the table requests'
		ELSE '' END`,
	forUpdate:   ` FOR UPDATE`,
	tryUpdate:   ` FOR UPDATE SKIP LOCKED`,
	laneLock:    `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`,
	unavailable: postgresUnavailable,
}

// sqliteUnavailable: the file is locked, full, out of reach or on a bad disk.
func sqliteUnavailable(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR,
		sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_NOMEM,
		sqlitelib.SQLITE_INTERRUPT, sqlitelib.SQLITE_PROTOCOL:
		return true
	}
	return false
}

// postgresUnavailable: anything that the server did not answer, and the answers
// that come from its condition.
func postgresUnavailable(err error) bool {
	code := postgresCode(err)
	if code == "" {
		return true
	}
	switch code[:2] {
	case "08", "40", "53", "55", "57", "58":
		return true
	}
	// It is a standby; or it ended a transaction that stood still.
	return code == "25006" || code == "25P03"
}

// unlucky reports whether PostgreSQL ended a transaction, by no fault of its
// own, that may well succeed the next time.
func unlucky(err error) bool {
	code := postgresCode(err)
	return code == "40001" || code == "40P01" // serialization failure, deadlock
}

// inTheWay reports whether PostgreSQL ended a transaction that would have waited
// too long for what others use, or that was given up for their sake.
func inTheWay(err error) bool {
	return postgresCode(err) == "55P03" || unlucky(err)
}

// postgresCode returns the server's code of an error, "" if it is none of the
// server's.
func postgresCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) && len(e.Code) == 5 {
		return e.Code
	}
	return ""
}

// connect opens the database at an address.
func (s *Store) connect(address string, readers int) error {
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "sqlite":
		return s.connectSQLite(rest, readers)
	case "postgres", "postgresql":
		return s.connectPostgres(address, readers)
	}
	return sdk.Errorf(sdk.Invalid,
		"database address: its scheme is %q; use sqlite:///path/to/file.db or postgres://user@host/database", scheme)
}

func (s *Store) connectSQLite(name string, readers int) error {
	writer, reader, err := openSQLite(name, readers)
	if err != nil {
		return err
	}
	group, sessions := newGroup(writer), newSessions(reader, readers)
	s.dialect = sqliteDialect
	s.pools = []*sql.DB{writer, reader}
	s.transact = group.write
	s.snapshot = sessions.read
	s.stop = sync.OnceFunc(func() {
		group.close()
		sessions.close()
	})
	return nil
}

// patience is how long PostgreSQL may take for a transaction before it counts
// as out of reach. Without it a network that swallows packets would be noticed
// after a quarter of an hour.
const patience = 30 * time.Second

// connectPostgres needs no connection yet: the first query makes one.
//
// A process that stops or is cut off in the middle of a transaction must not
// keep its locks, least of all that of the event counter: the server ends such
// a transaction after five seconds, or what the address asks for.
func (s *Store) connectPostgres(address string, connections int) error {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// The driver's message quotes the address, perhaps with its password.
		return sdk.Errorf(sdk.Invalid, "database address: it does not have the form postgres://user@host/database")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = patience
	}
	if config.RuntimeParams["idle_in_transaction_session_timeout"] == "" {
		config.RuntimeParams["idle_in_transaction_session_timeout"] = "5s"
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	s.dialect = postgresDialect
	s.pools = []*sql.DB{db}
	s.stop = func() {}
	s.transact = func(ctx context.Context, run operation) error {
		// Transactions run side by side; one that the server gave up for the
		// sake of another is repeated.
		for attempt := 1; ; attempt++ {
			err := pipelined(ctx, db, run)
			if err == nil || attempt == 10 || !unlucky(err) {
				return err
			}
		}
	}
	s.snapshot = func(ctx context.Context, run operation) error {
		return snapshot(ctx, db, run)
	}
	return nil
}

// snapshot runs an operation that only reads, and sees one moment of the database.
func snapshot(ctx context.Context, db *sql.DB, run operation) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	if err := run(ctx, tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// openSQLite opens a database file, which is created if it does not exist.
func openSQLite(name string, readers int) (writer, reader *sql.DB, err error) {
	name, err = sqlitePath(name)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, nil, sdk.Errorf(sdk.Unavailable, "database directory: %v", err)
	}
	// SQLite would create it readable by everybody.
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Unavailable, "database file: %v", err)
	}
	if err := f.Close(); err != nil {
		return nil, nil, sdk.Errorf(sdk.Unavailable, "database file: %v", err)
	}
	open := func(pragmas ...string) (*sql.DB, error) {
		q := url.Values{"_pragma": append(pragmas,
			"busy_timeout(10000)", "journal_mode(WAL)", "foreign_keys(1)", "cache_size(-4000)")}
		return sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: name, RawQuery: q.Encode()}).String())
	}
	// A commit is on the disk when it returns; what is deleted is overwritten;
	// what a savepoint may have to undo is not worth a file.
	writer, err = open("synchronous(FULL)", "secure_delete(1)", "temp_store(MEMORY)", "journal_size_limit(67108864)")
	if err != nil {
		return nil, nil, fmt.Errorf("open database file: %w", err)
	}
	reader, err = open("query_only(1)")
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open database file: %w", err), writer.Close())
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	return writer, reader, nil
}

// defaultReaders is how many connections read at once when Options say nothing.
func defaultReaders() int { return max(8, 2*runtime.GOMAXPROCS(0)) }

// lockLane keeps others from claiming a request of the lane until the
// transaction ends.
func (d *dialect) lockLane(ctx context.Context, q querier, lane string) error {
	if d.laneLock == "" {
		return nil
	}
	_, err := q.ExecContext(ctx, d.laneLock, lane)
	return err
}

// lockRequest keeps others from changing a request until the transaction ends.
// On PostgreSQL it must be a statement of its own: what follows then reads what
// the one before left, and not what stood there when the wait began.
func (d *dialect) lockRequest(ctx context.Context, q querier, id int64) (found bool, err error) {
	var one int
	err = q.QueryRowContext(ctx, `SELECT 1 FROM runs WHERE request = $1`+d.forUpdate, id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
