package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// Actor is who does something; the zero value is the registry itself.
type Actor struct {
	// User is empty for a caller that nobody authenticated.
	User string
	// Address is the caller's IP address, and Agent what it calls itself.
	Address, Agent string
}

// Entry is a line of a repository's record.
type Entry struct {
	ID       int64
	Time     time.Time
	Kind     string
	User     string
	Address  string
	Metadata json.RawMessage
}

// SplitName returns the namespace of a repository and its name within.
func SplitName(repository string) (namespace, name string) {
	namespace, name, found := strings.Cut(repository, "/")
	if !found {
		return "", namespace
	}
	return namespace, name
}

// audit records what was done, with the transaction that does it.
func (t *tx) audit(r *repository, actor Actor, kind string, metadata map[string]any) error {
	metadata["namespace"], metadata["repo"] = SplitName(r.name)
	encoded, err := json.Marshal(metadata)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO audit (repository, at, kind, performer, address, metadata) VALUES (?, ?, ?, ?, ?, ?)`,
		r.id, t.wall, kind, actor.User, actor.Address, string(encoded))
	return err
}

// Audit returns a repository's entries from start on and before end, newest
// first, at most limit, with IDs below before unless before is 0.
func (s *Store) Audit(ctx context.Context, repository string, start, end time.Time, before int64, limit int) ([]Entry, error) {
	var entries []Entry
	err := s.view(ctx, func(t *tx) error {
		r, err := t.find(repository)
		if err != nil {
			return err
		}
		if before == 0 {
			before = 1<<63 - 1
		}
		return t.each(`SELECT id, at, kind, performer, address, metadata FROM audit INDEXED BY audit_by_repository
			WHERE repository = ? AND at >= ? AND at < ? AND id < ? ORDER BY id DESC LIMIT ?`,
			[]any{r.id, start.UnixMilli(), end.UnixMilli(), before, limit}, func(scan func(...any) error) error {
				var e Entry
				var at int64
				var metadata string
				if err := scan(&e.ID, &at, &e.Kind, &e.User, &e.Address, &metadata); err != nil {
					return err
				}
				e.Time, e.Metadata = time.UnixMilli(at), json.RawMessage(metadata)
				entries = append(entries, e)
				return nil
			})
	})
	return entries, err
}

// ForgetAudit removes entries from before a time and returns how many.
func (s *Store) ForgetAudit(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := s.update(ctx, func(t *tx) (err error) {
		n, err = t.exec(`DELETE FROM audit WHERE at < ?`, before.UnixMilli())
		return err
	})
	return n, err
}
