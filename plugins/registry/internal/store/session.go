package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
)

// errClosed is what reads and writes get after Close.
var errClosed = errors.New("the registry is closed")

// session is a connection with its prepared statements. Every query is a
// constant of this package, so there is a bounded number of them. One goroutine
// uses a session at a time; it connects when it is first used.
type session struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// run calls f between begin and COMMIT. If either fails, nothing has happened.
func (s *session) run(ctx context.Context, begin string, f func() error) error {
	if s.conn == nil {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.stmts = conn, make(map[string]*sql.Stmt)
	}
	if _, err := s.conn.ExecContext(ctx, begin); err != nil {
		s.drop()
		return err
	}
	err := f()
	if err == nil {
		_, err = s.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		// The context may be what failed, and the rollback must not.
		if _, undoErr := s.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); undoErr != nil {
			s.drop()
		}
	}
	return err
}

// drop closes the connection for good, and with it what is open on it.
func (s *session) drop() {
	if s.conn == nil {
		return
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	s.conn, s.stmts = nil, nil
}

func (s *session) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.stmts[query] = stmt
	return stmt, nil
}

// pool lends sessions.
type pool struct {
	db     *sql.DB
	free   chan *session
	closed chan struct{}
	once   sync.Once
}

func newPool(db *sql.DB, n int) *pool {
	p := &pool{db: db, free: make(chan *session, n), closed: make(chan struct{})}
	for range n {
		p.free <- &session{db: db}
	}
	return p
}

func (p *pool) lend(ctx context.Context, f func(s *session) error) error {
	select {
	case <-p.closed:
		return errClosed
	default:
	}
	select {
	case s := <-p.free:
		defer func() { p.free <- s }()
		return f(s)
	case <-p.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close waits for what is under way. It may be called again.
func (p *pool) close() (err error) {
	p.once.Do(func() {
		close(p.closed)
		for range cap(p.free) {
			s := <-p.free
			s.drop()
		}
		err = p.db.Close()
	})
	return err
}

// tx is a transaction under way.
type tx struct {
	ctx context.Context
	s   *session
	// wall is the time by the machine's clock, in milliseconds.
	wall int64
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	stmt, err := t.s.prepare(t.ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// insert runs an INSERT and returns the row's number.
func (t *tx) insert(query string, args ...any) (int64, error) {
	stmt, err := t.s.prepare(t.ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// one scans the first row of a query, and tells whether there was one.
func (t *tx) one(query string, args []any, into ...any) (bool, error) {
	stmt, err := t.s.prepare(t.ctx, query)
	if err != nil {
		return false, err
	}
	err = stmt.QueryRowContext(t.ctx, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// errStop ends an each before the last row.
var errStop = errors.New("stop")

// each calls f for every row of a query, or until f returns errStop. f scans;
// it must not use the transaction.
func (t *tx) each(query string, args []any, f func(scan func(into ...any) error) error) error {
	stmt, err := t.s.prepare(t.ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(t.ctx, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := f(rows.Scan); errors.Is(err, errStop) {
			break
		} else if err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// texts returns the first column of a query.
func (t *tx) texts(query string, args ...any) ([]string, error) {
	var all []string
	err := t.each(query, args, func(scan func(into ...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		all = append(all, text)
		return nil
	})
	return all, err
}
