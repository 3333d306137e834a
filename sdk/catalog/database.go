package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	orsqlite "github.com/operator-framework/operator-registry/pkg/sqlite"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/iib-engine/iib/sdk"
)

// Database is the SQLite form of a catalog: the index.db of an index image. It
// may be used by several goroutines, which take turns. Every edit is one
// transaction: if it fails, the file says the same as before. A loss of power
// may damage the file: it is a working copy, made again from its image.
type Database struct {
	db   *sql.DB
	path string
}

// pageCache bounds the memory that SQLite takes for pages, in KiB. Databases
// are far larger than that, and an edit touches little of them.
const pageCache = 16 << 10

// OpenDatabase opens an existing database and brings an older schema up to
// date. A file that is not a catalog database gives an error of code
// sdk.Invalid that names it. The caller closes the database.
func OpenDatabase(ctx context.Context, path string) (*Database, error) {
	if err := checkMagic(path); err != nil {
		return nil, err
	}
	d, err := openDatabase(path)
	if err != nil {
		return nil, err
	}
	if err := d.prepare(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// CreateDatabase makes a database without packages. There must be no file of
// that name yet.
func CreateDatabase(ctx context.Context, path string) (*Database, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("create the database: %w", err)
	}
	d, err := openDatabase(path)
	if err != nil {
		return nil, err
	}
	if err := d.migrateSchema(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close releases the file. Only then is it complete.
func (d *Database) Close() error { return d.db.Close() }

func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer f.Close()
	magic := make([]byte, 16)
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte("SQLite format 3\x00")) {
		return sdk.Errorf(sdk.Invalid, "the file %s is not a SQLite database", filepath.Base(path))
	}
	return nil
}

func openDatabase(path string) (*Database, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	query := url.Values{"_pragma": {"foreign_keys(1)", "journal_mode(delete)", "synchronous(off)", "trusted_schema(0)", fmt.Sprintf("cache_size(-%d)", pageCache)}, "_txlock": {"immediate"}}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	// One connection: there is one page cache, and edits take turns.
	db.SetMaxOpenConns(1)
	return &Database{db, path}, nil
}

// prepare refuses other databases than catalogs, and updates the schema.
func (d *Database) prepare(ctx context.Context) error {
	var tables int
	err := d.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table'
		AND name IN ('operatorbundle', 'package', 'channel', 'channel_entry')`).Scan(&tables)
	if err != nil {
		return d.wrap("read the schema", err)
	}
	if tables != 4 {
		return sdk.Errorf(sdk.Invalid, "the file %s is a SQLite database, but not one of an index: it lacks the tables of a catalog", filepath.Base(d.path))
	}
	// A stranger's schema could run anything at every row that is written.
	unknown, err := collect(ctx, d.db, scanText, `SELECT type || ' ' || name FROM sqlite_master WHERE type IN ('trigger', 'view')
		AND name NOT IN ('api_provider_cleanup', 'api_requirer_cleanup') ORDER BY 1`)
	if err != nil {
		return d.wrap("read the schema", err)
	}
	if len(unknown) > 0 {
		return sdk.Errorf(sdk.Invalid, "the database %s has the %s, which no catalog has", filepath.Base(d.path), unknown[0])
	}
	return d.migrateSchema(ctx)
}

func (d *Database) migrateSchema(ctx context.Context) error {
	migrator, err := orsqlite.NewSQLLiteMigrator(d.db)
	if err != nil {
		return d.wrap("update the schema", err)
	}
	return d.wrap("update the schema", migrator.Migrate(ctx))
}

// wrap says what was being done, and tells a damaged file from a fault of
// ours. It returns nil for nil, and errors for requesters as they are.
func (d *Database) wrap(doing string, err error) error {
	var coded *sdk.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	var failed *sqlite.Error
	if errors.As(err, &failed) {
		switch failed.Code() & 0xff {
		case sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
			return sdk.Errorf(sdk.Invalid, "the database %s is damaged: %s: %v", filepath.Base(d.path), doing, err)
		}
	} else if strings.Contains(err.Error(), "database disk image is malformed") {
		// Some layers between here and SQLite keep the text only.
		return sdk.Errorf(sdk.Invalid, "the database %s is damaged: %s: %v", filepath.Base(d.path), doing, err)
	}
	return fmt.Errorf("database %s: %s: %w", filepath.Base(d.path), doing, err)
}

// edit runs an edit in one transaction.
func (d *Database) edit(ctx context.Context, doing string, change func(*dbtx) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return d.wrap(doing, err)
	}
	if err := change(&dbtx{ctx, tx}); err != nil {
		return errors.Join(d.wrap(doing, err), ignoreDone(tx.Rollback()))
	}
	return d.wrap(doing, tx.Commit())
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// querier is what reading needs: the database itself, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// dbtx is a transaction with its context.
type dbtx struct {
	ctx context.Context
	*sql.Tx
}

func (t *dbtx) exec(query string, args ...any) error {
	_, err := t.ExecContext(t.ctx, query, args...)
	return err
}

// collect reads all rows of a query. One connection serves everything, so
// rows are never left open while something else is read.
func collect[T any](ctx context.Context, q querier, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

func scanText(rows *sql.Rows) (string, error) {
	var s sql.NullString
	err := rows.Scan(&s)
	return s.String, err
}

func scanPair(rows *sql.Rows) ([2]string, error) {
	var a, b sql.NullString
	err := rows.Scan(&a, &b)
	return [2]string{a.String, b.String}, err
}

func textSet(ctx context.Context, q querier, query string, args ...any) (map[string]bool, error) {
	list, err := collect(ctx, q, scanText, query, args...)
	if err != nil {
		return nil, err
	}
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set, nil
}
