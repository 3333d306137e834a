package store

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pipeline is a transaction of PostgreSQL. Statements whose outcome nobody looks
// at are kept back and sent together, before the next one that is asked for an
// answer or before the end: to the server and back is what takes most of the time
// of small statements.
type pipeline struct {
	conn *sql.Conn
	tx   *sql.Tx
	held pgx.Batch
	// failed is the first error of what was kept back.
	failed error
}

// pipelined runs an operation in a transaction.
func pipelined(ctx context.Context, db *sql.DB, run operation) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	p := &pipeline{conn: conn, tx: tx}
	err = run(ctx, p)
	if err == nil {
		err = p.send(ctx)
	}
	if err != nil {
		// The error that led here is the one to tell; a connection that cannot
		// even roll back is dropped by its pool.
		_ = tx.Rollback()
		// What follows a statement that failed fails too, and tells only that.
		if p.failed != nil {
			return p.failed
		}
		return err
	}
	return tx.Commit()
}

// later keeps a statement back. Its error is that of the transaction.
func (p *pipeline) later(query string, args []any) { p.held.Queue(query, args...) }

// send sends what was kept back.
func (p *pipeline) send(ctx context.Context) error {
	if p.failed != nil || p.held.Len() == 0 {
		return p.failed
	}
	p.failed = p.conn.Raw(func(driver any) error {
		results := driver.(*stdlib.Conn).Conn().SendBatch(ctx, &p.held)
		for range p.held.Len() {
			if _, err := results.Exec(); err != nil {
				_ = results.Close()
				return err
			}
		}
		return results.Close()
	})
	p.held = pgx.Batch{}
	return p.failed
}

func (p *pipeline) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.send(ctx); err != nil {
		return nil, err
	}
	return p.tx.ExecContext(ctx, query, args...)
}

func (p *pipeline) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := p.send(ctx); err != nil {
		return nil, err
	}
	return p.tx.QueryContext(ctx, query, args...)
}

func (p *pipeline) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	// After a failure the row has an error too: the server ends a transaction with
	// its first.
	_ = p.send(ctx)
	return p.tx.QueryRowContext(ctx, query, args...)
}
