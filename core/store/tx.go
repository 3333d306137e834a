package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
)

// tx is a transaction under way.
type tx struct {
	ctx context.Context
	q   querier
	d   *dialect
	// now is when the transaction began.
	now   time.Time
	notes []note
}

// note is an event that is written when everything else has been.
type note struct {
	kind core.EventKind
	time time.Time
	// request and position are 0 for a batch event; a tag event's position is
	// the ID of its move.
	request, position int64
	batch             int64
	state             core.State
}

// touch marks a request for the listing without telling anybody.
const touch core.EventKind = "touch"

// exec makes a statement, at the latest before the next one that asks for an
// answer. That it failed may show only then, or at the end of the transaction,
// which it ends in any case.
func (t *tx) exec(query string, args ...any) error {
	if q, ok := t.q.(interface{ later(string, []any) }); ok {
		q.later(query, args)
		return nil
	}
	_, err := t.q.ExecContext(t.ctx, query, args...)
	return err
}

// affect is exec for a statement that may find nothing to do.
func (t *tx) affect(query string, args ...any) (bool, error) {
	result, err := t.q.ExecContext(t.ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

func (t *tx) row(query string, args ...any) *sql.Row {
	return t.q.QueryRowContext(t.ctx, query, args...)
}

// each calls scan for every row of a query.
func (t *tx) each(scan func(rows *sql.Rows) error, query string, args ...any) error {
	rows, err := t.q.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// insert writes rows with statements of 64, 32, ..., 1 rows: few statements for
// the server, and few different ones to prepare. The tail goes after the values.
func (t *tx) insert(head string, rows [][]any, tail string) error {
	for size := 64; len(rows) > 0; {
		if len(rows) < size {
			size /= 2
			continue
		}
		args := make([]any, 0, size*len(rows[0]))
		for _, row := range rows[:size] {
			args = append(args, row...)
		}
		if err := t.exec(head+" VALUES "+tuples(size, len(rows[0]))+tail, args...); err != nil {
			return err
		}
		rows = rows[size:]
	}
	return nil
}

// tuples returns "($1, $2), ($3, $4)" for 2 rows of 2 columns.
func tuples(rows, columns int) string {
	var b strings.Builder
	for i := range rows * columns {
		switch {
		case i == 0:
			b.WriteByte('(')
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
	}
	b.WriteByte(')')
	return b.String()
}

// inList is how many values one query asks for at most.
const inList = 256

// in returns a list of placeholders for "x IN (...)" and their values. It is
// filled up with the last value, so that lists of most lengths share a prepared
// statement.
func in(values []int64) (list string, args []any) {
	n := 8
	for n < len(values) {
		n *= 2
	}
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
		args = append(args, values[min(i, len(values)-1)])
	}
	return b.String(), args
}

// flush writes the events. It is the last thing before the commit: from here
// on, other transactions that have events wait.
func (t *tx) flush() error {
	if len(t.notes) == 0 {
		return nil
	}
	var last int64
	err := t.row(`UPDATE counters SET value = value + $1 WHERE name = 'event' RETURNING value`, len(t.notes)).Scan(&last)
	if err != nil {
		return err
	}
	rows := make([][]any, len(t.notes))
	for i, n := range t.notes {
		sequence := last - int64(len(t.notes)-1-i)
		request := sql.NullInt64{Int64: n.request, Valid: n.request != 0}
		rows[i] = []any{sequence, n.kind, micros(n.time), n.batch, request, n.position, n.state}
	}
	return t.insert(`INSERT INTO events (sequence, kind, time, batch, request, position, state)`, rows, "")
}
