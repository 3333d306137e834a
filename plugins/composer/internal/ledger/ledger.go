// Package ledger finds composes among the engine's requests. The engine has the
// truth; what is kept beside it is which composes their users deleted, and an
// index that can be made anew at any time.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/sdk"
)

// The states of a compose (contract section 11.1).
const (
	Waiting  = "WAITING"
	Running  = "RUNNING"
	Finished = "FINISHED"
	Failed   = "FAILED"
)

// Entry is a compose. Times are in seconds since 1970, 0 for none.
type Entry struct {
	Request   int64   `json:"request"`
	UUID      string  `json:"uuid"`
	Blueprint string  `json:"blueprint"`
	Version   string  `json:"version"`
	Type      string  `json:"type"`
	State     string  `json:"state"`
	Created   float64 `json:"created"`
	Started   float64 `json:"started"`
	Ended     float64 `json:"ended"`
	// ImageSize is 0 unless it is finished.
	ImageSize int64 `json:"image_size"`
}

// Over tells whether nothing will change any more.
func (e *Entry) Over() bool { return e.State == Finished || e.State == Failed }

// page is how many requests are asked for at once: each may bring the names of
// thousands of packages.
const page = 10

// Ledger is safe for concurrent use.
type Ledger struct {
	host sdk.Host
	dir  string

	mu      sync.Mutex
	entries map[string]*Entry
	// whole tells that the requests were listed to their beginning once, and
	// through is the newest of those seen then.
	whole   bool
	through int64
}

// Open reads the index in the plugin's data directory, if there is a sound one.
func Open(host sdk.Host) (*Ledger, error) {
	data, _ := host.Dirs()
	l := &Ledger{host: host, dir: data, entries: make(map[string]*Entry)}
	if err := os.MkdirAll(l.deletedDir(), 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "make the directory of deleted composes: %w", err)
	}
	l.load()
	return l, nil
}

func (l *Ledger) deletedDir() string { return filepath.Join(l.dir, "deleted") }
func (l *Ledger) indexFile() string  { return filepath.Join(l.dir, "composes.json") }

type index struct {
	Through int64    `json:"through"`
	Entries []*Entry `json:"entries"`
}

func (l *Ledger) load() {
	var kept index
	data, err := os.ReadFile(l.indexFile())
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			slog.Warn("the index of composes is made anew", "err", err)
		}
		return
	}
	for _, e := range kept.Entries {
		if e == nil || uuid.Validate(e.UUID) != nil {
			l.entries = make(map[string]*Entry)
			return
		}
		l.entries[e.UUID] = e
	}
	l.whole, l.through = true, kept.Through
}

// save writes the index. A failure costs time after the next start.
func (l *Ledger) save() {
	kept := index{Through: l.through}
	for _, id := range slices.Sorted(maps.Keys(l.entries)) {
		kept.Entries = append(kept.Entries, l.entries[id])
	}
	data, err := json.Marshal(kept)
	if err == nil {
		temporary := l.indexFile() + "." + strconv.Itoa(os.Getpid())
		if err = os.WriteFile(temporary, data, 0o600); err == nil {
			err = os.Rename(temporary, l.indexFile())
		}
	}
	if err != nil {
		slog.Warn("the index of composes could not be written", "err", err)
	}
}

// entry makes an entry of a request; nil for one that is no compose of ours.
func entry(v *sdk.RequestView) *Entry {
	e := &Entry{
		Request: v.ID, UUID: text(v, compose.FieldUUID), Blueprint: text(v, compose.FieldBlueprint),
		Version: text(v, compose.FieldVersion), Type: text(v, compose.FieldType),
		Created: seconds(v.Accepted), Started: number(v, compose.FieldStarted),
	}
	if uuid.Validate(e.UUID) != nil {
		return nil
	}
	switch v.State {
	case "complete":
		e.State, e.ImageSize = Finished, int64(number(v, compose.FieldImageSize))
	case "failed":
		e.State = Failed
	default:
		e.State = Waiting
		if e.Started > 0 {
			e.State = Running
		}
	}
	if e.Over() {
		e.Ended = seconds(v.Updated)
	}
	return e
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func text(v *sdk.RequestView, field string) string {
	var s string
	_ = json.Unmarshal(v.Fields[field], &s)
	return s
}

func number(v *sdk.RequestView, field string) float64 {
	var n float64
	_ = json.Unmarshal(v.Fields[field], &n)
	return n
}

// All returns the composes, oldest first.
func (l *Ledger) All(ctx context.Context) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refresh(ctx); err != nil {
		return nil, err
	}
	deleted, err := l.deleted()
	if err != nil {
		return nil, err
	}
	var all []Entry
	for id, e := range l.entries {
		if !deleted[id] {
			all = append(all, *e)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return int(a.Request - b.Request) })
	return all, nil
}

// refresh brings the index up to date. The newest page is read always: requests
// may become visible in another order than that of their numbers.
func (l *Ledger) refresh(ctx context.Context) error {
	changed := false
	seen := make(map[int64]bool)
	through := l.through
	for before := int64(0); ; {
		views, err := l.host.Requests(ctx, compose.Type, before, page)
		if err != nil {
			return err
		}
		if before == 0 && l.whole && (len(views) == 0 && l.through > 0 || len(views) > 0 && views[0].ID < l.through) {
			l.forget() // requests do not vanish: this is the index of another store
			through = 0
		}
		for _, v := range views {
			before = v.ID
			through = max(through, v.ID)
			seen[v.ID] = true
			changed = l.note(v) || changed
		}
		if len(views) < page || l.whole && before <= l.through {
			break
		}
	}
	changed = changed || !l.whole || through != l.through
	l.whole, l.through = true, through
	for id, e := range l.entries {
		if e.Over() || seen[e.Request] {
			continue
		}
		v, err := l.host.Request(ctx, e.Request)
		if sdk.CodeOf(err) == sdk.NotFound {
			delete(l.entries, id)
			changed = true
			continue
		}
		if err != nil {
			return err
		}
		changed = l.note(v) || changed
	}
	if changed {
		l.save()
	}
	return nil
}

// note tells whether a request has changed an entry.
func (l *Ledger) note(v *sdk.RequestView) bool {
	e := entry(v)
	if e == nil {
		return false
	}
	if old := l.entries[e.UUID]; old != nil && *old == *e {
		return false
	}
	l.entries[e.UUID] = e
	return true
}

// forget drops an index that is worth nothing.
func (l *Ledger) forget() { l.entries, l.whole, l.through = make(map[string]*Entry), false, 0 }

// deleted are the composes that nobody should see.
func (l *Ledger) deleted() (map[string]bool, error) {
	names, err := os.ReadDir(l.deletedDir())
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "read which composes were deleted: %w", err)
	}
	deleted := make(map[string]bool, len(names))
	for _, name := range names {
		deleted[name.Name()] = true
	}
	return deleted, nil
}

// Unknown is the error for a uuid that is none of a compose.
func Unknown(id string) error {
	return fault.New(fault.UnknownUUID, "%s is not a valid build uuid", id)
}

// Get returns a compose, and its request as it is now.
func (l *Ledger) Get(ctx context.Context, id string) (*Entry, *sdk.RequestView, error) {
	if len(id) != 36 || uuid.Validate(id) != nil || strings.ToLower(id) != id {
		return nil, nil, Unknown(id)
	}
	if _, err := os.Lstat(filepath.Join(l.deletedDir(), id)); err == nil {
		return nil, nil, Unknown(id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[id]
	if e == nil {
		if err := l.refresh(ctx); err != nil {
			return nil, nil, err
		}
		if e = l.entries[id]; e == nil {
			return nil, nil, Unknown(id)
		}
	}
	v, err := l.host.Request(ctx, e.Request)
	if err != nil && sdk.CodeOf(err) != sdk.NotFound {
		return nil, nil, err
	}
	var now *Entry
	if err == nil {
		now = entry(v)
	}
	if now == nil || now.UUID != id {
		l.forget() // the index is of another store
		return nil, nil, Unknown(id)
	}
	return now, v, nil
}

// Delete makes a compose unknown, and drops what it left behind.
func (l *Ledger) Delete(ctx context.Context, e *Entry) error {
	if err := l.host.Forget(ctx, e.Request); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.deletedDir(), e.UUID), nil, 0o600); err != nil {
		return sdk.Errorf(sdk.Unavailable, "note that a compose was deleted: %w", err)
	}
	return nil
}
