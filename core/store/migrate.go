package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is a step of the schema. A released one is never edited.
type migration struct {
	version int64
	name    string
	// oldest is the version of the oldest programs that work on the result, side
	// by side with newer ones: what they ask for is still there, what they write
	// is enough for the others, and what others write does not mislead them.
	oldest int64
	sql    string
}

// migrations returns the embedded steps, oldest first, which is the order of
// their names.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	steps := make([]migration, len(names))
	for i, path := range names {
		text, err := migrationFiles.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql")
		if steps[i], err = newMigration(name, string(text), int64(i+1)); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// newMigration reads a file such as 0012_colours.sql, whose first line is
// "-- oldest: 11".
func newMigration(name, text string, version int64) (migration, error) {
	number, _, _ := strings.Cut(name, "_")
	if n, err := strconv.ParseInt(number, 10, 64); err != nil || n != version {
		return migration{}, fmt.Errorf("migration %s: want number %d", name, version)
	}
	first, _, _ := strings.Cut(text, "\n")
	stated, ok := strings.CutPrefix(first, "-- oldest: ")
	oldest, err := strconv.ParseInt(stated, 10, 64)
	if !ok || err != nil || oldest < 1 || oldest > version {
		return migration{}, fmt.Errorf("migration %s: its first line must be \"-- oldest: N\", "+
			"with the version from 1 to %d of the oldest programs that work on its result", name, version)
	}
	return migration{version: version, name: name, oldest: oldest, sql: text}, nil
}

// oldestOf is the version of the oldest programs that work on what steps make.
func oldestOf(steps []migration) int64 {
	var oldest int64
	for _, step := range steps {
		oldest = max(oldest, step.oldest)
	}
	return oldest
}

// migrate brings the database to the version of steps, all that are missing in one
// transaction. Several processes may do so at once: one of them does the work
// and the others find it done. A database of a newer version is left as it is,
// and refused unless programs of this one work on it.
//
// Older programs go on working meanwhile. A step that waits for a table has all
// of them wait behind it, so on PostgreSQL it soon lets them pass and begins
// again, up to migrateTries times.
func migrate(ctx context.Context, db *sql.DB, d *dialect, steps []migration) error {
	for try := 1; ; try++ {
		err := migrateOnce(ctx, db, d, steps)
		if !inTheWay(err) || try == migrateTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(migratePause):
		}
	}
}

const (
	// migrateTries that wait for a table take half a minute.
	migrateTries = 50
	// migratePause is how long the others have the tables to themselves.
	migratePause = 100 * time.Millisecond
)

func migrateOnce(ctx context.Context, db *sql.DB, d *dialect, steps []migration) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	begin := "BEGIN"
	if d == sqliteDialect {
		begin = "BEGIN IMMEDIATE"
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return err
	}
	err = migrateLocked(ctx, conn, d, steps)
	end := "COMMIT"
	if err != nil {
		end = "ROLLBACK"
	}
	if _, endErr := conn.ExecContext(context.WithoutCancel(ctx), end); err == nil {
		err = endErr
	}
	return err
}

func migrateLocked(ctx context.Context, q querier, d *dialect, steps []migration) error {
	if d.lockSchema != "" {
		if _, err := q.ExecContext(ctx, d.lockSchema); err != nil {
			return err
		}
	}
	v, err := readVersion(ctx, q, d, steps)
	if err != nil {
		return err
	}
	if v.at == 0 {
		const table = `CREATE TABLE IF NOT EXISTS migrations (version <int> PRIMARY KEY, name <text> NOT NULL, time <int> NOT NULL) <table>`
		if _, err := q.ExecContext(ctx, d.types.Replace(table)); err != nil {
			return err
		}
	}
	newest := int64(len(steps))
	if v.oldest > newest {
		return sdk.Errorf(sdk.Conflict, "the database has schema version %d, which takes programs that know at least version %d, "+
			"and this program knows versions up to %d: start a newer program, or restore a backup from before the upgrade",
			v.at, v.oldest, newest)
	}
	if v.at >= newest {
		return nil
	}
	for _, step := range steps[v.at:] {
		if _, err := q.ExecContext(ctx, d.types.Replace(step.sql)); err != nil {
			return fmt.Errorf("migration %s: %w", step.name, err)
		}
	}
	// The rows come last: one of the steps has made their column oldest.
	for _, step := range steps[v.at:] {
		_, err := q.ExecContext(ctx, `INSERT INTO migrations (version, name, time, oldest) VALUES ($1, $2, $3, $4)`,
			step.version, step.name, time.Now().UnixMicro(), step.oldest)
		if err != nil {
			return fmt.Errorf("migration %s: %w", step.name, err)
		}
	}
	return nil
}

// schemaVersion is what a database says of its schema.
type schemaVersion struct {
	// at is the last migration that it has had, 0 if none.
	at int64
	// oldest is the version of the oldest programs that work on it, once those
	// of steps have made it theirs.
	oldest int64
}

func readVersion(ctx context.Context, q querier, d *dialect, steps []migration) (v schemaVersion, err error) {
	v.oldest = oldestOf(steps)
	has := 0
	if err := q.QueryRowContext(ctx, d.hasTable, "migrations").Scan(&has); err != nil || has == 0 {
		return v, err
	}
	if err := q.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM migrations`).Scan(&v.at); err != nil {
		return v, err
	}
	// What steps do not know, newer programs have made; and they know the column.
	if v.at > int64(len(steps)) {
		err = q.QueryRowContext(ctx, `SELECT coalesce(max(oldest), 0) FROM migrations`).Scan(&v.oldest)
	}
	return v, err
}
