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
	sql     string
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
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version != int64(i+1) {
			return nil, fmt.Errorf("migration %s: want number %d", path, i+1)
		}
		steps[i] = migration{version: version, name: name, sql: string(text)}
	}
	return steps, nil
}

// migrate brings the database to this program's version, all steps in one
// transaction. Several processes may do so at once: one of them does the work
// and the others find it done. A database of a newer version is refused.
func migrate(ctx context.Context, db *sql.DB, d *dialect) (err error) {
	steps, err := migrations()
	if err != nil {
		return err
	}
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
	has := 0
	if err := q.QueryRowContext(ctx, d.hasTable, "migrations").Scan(&has); err != nil {
		return err
	}
	var at int64
	if has > 0 {
		if err := q.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM migrations`).Scan(&at); err != nil {
			return err
		}
	} else {
		const table = `CREATE TABLE migrations (version <int> PRIMARY KEY, name <text> NOT NULL, time <int> NOT NULL) <table>`
		if _, err := q.ExecContext(ctx, d.types.Replace(table)); err != nil {
			return err
		}
	}
	newest := int64(len(steps))
	if at > newest {
		return sdk.Errorf(sdk.Conflict, "the database has schema version %d and this program knows versions up to %d: "+
			"start the newer program that last used it, or restore a backup from before the upgrade", at, newest)
	}
	for _, step := range steps[at:] {
		if _, err := q.ExecContext(ctx, d.types.Replace(step.sql)); err != nil {
			return fmt.Errorf("migration %s: %w", step.name, err)
		}
		_, err := q.ExecContext(ctx, `INSERT INTO migrations (version, name, time) VALUES ($1, $2, $3)`,
			step.version, step.name, time.Now().UnixMicro())
		if err != nil {
			return fmt.Errorf("migration %s: %w", step.name, err)
		}
	}
	return nil
}
