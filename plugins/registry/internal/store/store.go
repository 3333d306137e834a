package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// Options are how a store is run. The zero value is usable.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rules returns what holds for a repository; nil means the zero Rules for
	// all. It is called often and must be quick.
	Rules func(repository string) Rules
	// Hold is how long something stays that nothing keeps, after a client was
	// told that it is there; 0 means an hour. A push that takes longer between
	// a layer and its manifest has to send the layer again.
	Hold time.Duration
	// MaxBlob is the size of the largest blob taken; 0 means 32 GiB.
	MaxBlob int64
}

// Rules are what holds for one repository.
type Rules struct {
	// Window is how long a row of the history stays after its end, with its
	// manifest. 0 forgets at the next collection.
	Window time.Duration
	// Immutable makes the rows of matching names immutable as they open; nil
	// matches none.
	Immutable *regexp.Regexp
	// SparseLists takes lists of manifests that are not all there.
	SparseLists bool
	// MinLife and MaxLife bound the expiration that may be set on a tag,
	// counted from the row's start; 0 means an hour and 104 weeks.
	MinLife, MaxLife time.Duration
}

const (
	defaultHold    = time.Hour
	defaultMaxBlob = 32 << 30
	defaultMinLife = time.Hour
	defaultMaxLife = 104 * 7 * 24 * time.Hour
)

// Store is a registry's content. Its methods may be called concurrently.
type Store struct {
	dir     string
	driver  driver.StorageDriver
	options Options

	writer  *pool
	readers *pool

	uploads uploads
}

// Open opens the store in a directory, which is made if it is missing.
func Open(ctx context.Context, dir string, options Options) (*Store, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Rules == nil {
		options.Rules = func(string) Rules { return Rules{} }
	}
	if options.Hold <= 0 {
		options.Hold = defaultHold
	}
	if options.MaxBlob <= 0 {
		options.MaxBlob = defaultMaxBlob
	}
	for _, sub := range []string{"uploads", "blobs/sha256", "blobs/sha512"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open the registry: %w", err)
		}
	}
	for _, made := range []string{filepath.Join(dir, "blobs"), dir, filepath.Dir(dir)} {
		if err := syncDir(made); err != nil {
			return nil, fmt.Errorf("open the registry: %w", err)
		}
	}
	s := &Store{
		dir:     dir,
		driver:  filesystem.New(filesystem.DriverParameters{RootDirectory: dir, MaxThreads: 100}),
		options: options,
	}
	path := filepath.Join(dir, "registry.db")
	write, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	if err := migrate(ctx, write); err != nil {
		return nil, errors.Join(fmt.Errorf("open the registry in %s: %w", dir, err), write.Close())
	}
	read, err := sql.Open("sqlite", dsn(path)+"&_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the registry: %w", err), write.Close())
	}
	s.writer = newPool(write, 1)
	s.readers = newPool(read, max(4, 2*runtime.GOMAXPROCS(0)))
	return s, nil
}

// dsn describes a connection that waits for other processes, checks references
// and has a commit on the disk when it returns.
func dsn(path string) string {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(20000)", "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(1)", "cache_size(-16000)", "temp_store(MEMORY)",
	}}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: pragmas.Encode()}).String()
}

// Close waits for what is under way and closes the store. Calls that come
// later fail; closing again does nothing.
func (s *Store) Close() error {
	s.uploads.close()
	return errors.Join(s.readers.close(), s.writer.close())
}

// update runs f in a transaction that is on the disk when update returns nil.
// Writes come one after the other. Once begun, a write does not stop when ctx
// ends: the caller could not tell what has become of it.
func (s *Store) update(ctx context.Context, f func(t *tx) error) error {
	return s.writer.lend(ctx, func(session *session) error {
		ctx := context.WithoutCancel(ctx)
		return session.run(ctx, "BEGIN IMMEDIATE", func() error {
			return f(&tx{ctx: ctx, s: session, wall: s.wall()})
		})
	})
}

// view runs f in a transaction that sees one moment of the database.
func (s *Store) view(ctx context.Context, f func(t *tx) error) error {
	return s.readers.lend(ctx, func(session *session) error {
		return session.run(ctx, "BEGIN", func() error {
			return f(&tx{ctx: ctx, s: session, wall: s.wall()})
		})
	})
}

func (s *Store) wall() int64 { return s.options.Now().UnixMilli() }
