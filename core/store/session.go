package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// session is a SQLite connection with its prepared statements. All queries are
// constants of this package, so their number is bounded. One goroutine uses a
// session at a time. The zero conn is connected when it is needed.
type session struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// transact runs an operation between begin and COMMIT. An error undoes everything.
func (s *session) transact(ctx context.Context, begin string, run operation) error {
	if s.conn == nil {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.stmts = conn, make(map[string]*sql.Stmt)
	}
	if _, err := s.ExecContext(ctx, begin); err != nil {
		s.disconnect()
		return err
	}
	err := run(ctx, s)
	if err == nil {
		_, err = s.ExecContext(ctx, `COMMIT`)
	}
	if err != nil {
		if _, undoErr := s.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`); undoErr != nil {
			// What is still open on a connection ends with it.
			s.disconnect()
		}
	}
	return err
}

// disconnect closes the connection for good; the next use makes a new one.
func (s *session) disconnect() {
	if s.conn == nil {
		return
	}
	for _, stmt := range s.stmts {
		// It goes with its connection in any case.
		_ = stmt.Close()
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	s.conn, s.stmts = nil, nil
}

func (s *session) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err == nil {
		s.stmts[query] = stmt
	}
	return stmt, err
}

func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		// It fails in the same way, and a row is what carries the error.
		return s.conn.QueryRowContext(ctx, query, args...)
	}
	return stmt.QueryRowContext(ctx, args...)
}

// sessions are the connections that read, lent one by one.
type sessions struct {
	free   chan *session
	closed chan struct{}
}

func newSessions(db *sql.DB, n int) *sessions {
	p := &sessions{free: make(chan *session, n), closed: make(chan struct{})}
	for range n {
		p.free <- &session{db: db}
	}
	return p
}

// read runs an operation in a transaction that sees one moment of the
// database: SQLite's deferred transaction keeps the snapshot of its first read.
func (p *sessions) read(ctx context.Context, run operation) error {
	select {
	case s := <-p.free:
		defer func() { p.free <- s }()
		return s.transact(ctx, `BEGIN`, run)
	case <-p.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close waits for the reads under way.
func (p *sessions) close() {
	close(p.closed)
	for range cap(p.free) {
		s := <-p.free
		s.disconnect()
	}
}
