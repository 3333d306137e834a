package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the database to the schema of this program. Each file of
// migrations is a step, in the order of their names; the database counts the
// steps that it has taken.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &session{db: db, conn: conn, stmts: make(map[string]*sql.Stmt)}
	return s.run(ctx, "BEGIN IMMEDIATE", func() error {
		var taken int
		if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&taken); err != nil {
			return err
		}
		if taken > len(steps) {
			return fmt.Errorf("the database is of a newer version: it has %d migrations and this program knows %d", taken, len(steps))
		}
		for _, step := range steps[taken:] {
			text, err := migrations.ReadFile(step)
			if err != nil {
				return err
			}
			if _, err := conn.ExecContext(ctx, string(text)); err != nil {
				return fmt.Errorf("%s: %w", step, err)
			}
		}
		_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(steps)))
		return err
	})
}
