// Package sources keeps the RPM repositories that composes draw from: those of
// the configuration, and those that users added (contract section 9).
package sources

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// maxAdded bounds how many sources users may add: each is loaded for every solve.
const maxAdded = 1000

// Store is safe for concurrent use, also by several processes: what is in the
// file counts.
type Store struct {
	system []solve.Source
	file   string
	check  func(context.Context, solve.Source) error
	mu     sync.Mutex
}

// Open returns the sources of the system and those in a directory. Check tells
// whether the metadata of a source can be loaded.
func Open(dir string, system []solve.Source, check func(context.Context, solve.Source) error) *Store {
	system = slices.Clone(system)
	for i := range system {
		system[i].System = true
	}
	return &Store{system: system, file: filepath.Join(dir, "sources.json"), check: check}
}

// All returns the sources, sorted by id.
func (s *Store) All() ([]solve.Source, error) {
	added, err := s.read()
	if err != nil {
		return nil, err
	}
	all := make(map[string]solve.Source)
	for _, source := range slices.Concat(added, s.system) {
		all[source.ID] = source
	}
	sorted := make([]solve.Source, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		sorted = append(sorted, all[id])
	}
	return sorted, nil
}

func (s *Store) read() ([]solve.Source, error) {
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var added []solve.Source
	if err == nil {
		err = json.Unmarshal(data, &added)
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "read the sources: %w", err)
	}
	return added, nil
}

// change replaces the file.
func (s *Store) change(do func([]solve.Source) ([]solve.Source, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock, err := os.OpenFile(s.file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "lock the sources: %w", err)
	}
	defer lock.Close()
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "lock the sources: %w", err)
	}
	added, err := s.read()
	if err != nil {
		return err
	}
	if added, err = do(added); err != nil {
		return err
	}
	data, err := json.MarshalIndent(added, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(s.file, data); err != nil {
		return sdk.Errorf(sdk.Unavailable, "write the sources: %w", err)
	}
	return nil
}

// replace writes a file whole or not at all. Addresses may have passwords in
// them: only the engine's user reads it.
func replace(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".sources-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	return err
}

func (s *Store) isSystem(id string) bool {
	return slices.ContainsFunc(s.system, func(source solve.Source) bool { return source.ID == id })
}

// Set adds a source or replaces it, once its metadata has been loaded.
func (s *Store) Set(ctx context.Context, source solve.Source) error {
	if s.isSystem(source.ID) {
		return fault.New(fault.SystemSource, "%s is a system source, it cannot be changed.", source.ID)
	}
	source.System = false
	if err := s.check(ctx, source); err != nil {
		return fault.As(fault.ProjectsError, err, "There was a problem loading the metadata of "+source.ID+": ")
	}
	return s.change(func(added []solve.Source) ([]solve.Source, error) {
		added = slices.DeleteFunc(added, func(old solve.Source) bool { return old.ID == source.ID })
		if len(added) >= maxAdded {
			return nil, fault.New(fault.ProjectsError, "there are %d sources already; delete some", len(added))
		}
		return append(added, source), nil
	})
}

// Delete removes a source.
func (s *Store) Delete(id string) error {
	if s.isSystem(id) {
		return fault.New(fault.SystemSource, "%s is a system source, it cannot be deleted.", id)
	}
	return s.change(func(added []solve.Source) ([]solve.Source, error) {
		left := slices.DeleteFunc(slices.Clone(added), func(old solve.Source) bool { return old.ID == id })
		if len(left) == len(added) {
			return nil, fault.New(fault.UnknownSource, "source %s not found", id)
		}
		return left, nil
	})
}
