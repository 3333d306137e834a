package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownDir is a directory that belongs to this process for as long as it lives.
// The process holds a lock in it, which ends with the process however that
// ends; who makes another one beside it removes those that nobody holds: what a
// killed process left.
type ownDir struct {
	path string
	lock *os.File
}

// lockFile is what a process holds in its own directory. It has the number of
// the process, for those who look for a running engine.
const lockFile = ".lock"

// makeOwnDir removes what dead processes left in parent under names that begin
// with prefix, and makes a directory with such a name.
func makeOwnDir(parent, prefix string) (*ownDir, error) {
	if err := sweepOwnDirs(parent, prefix); err != nil {
		return nil, err
	}
	for {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, fmt.Errorf("make a directory of this process: %w", err)
		}
		lock, err := takeLock(path, os.O_CREATE)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
			continue // another process took it for what a dead one left
		}
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
			_ = lock.Close()
			return nil, fmt.Errorf("mark the directory of this process: %w", err)
		}
		return &ownDir{path, lock}, nil
	}
}

// sweepOwnDirs removes what no living process holds. The parent may be shared
// with strangers, as the directory for temporary files is: what belongs to
// other users, and what has no lock in it, is none of ours. An empty directory
// may be one that was made and not locked yet; it can go, because its maker
// makes another one.
func sweepOwnDirs(parent, prefix string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("look for what dead processes left: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) < len(prefix) || e.Name()[:len(prefix)] != prefix {
			continue
		}
		path := filepath.Join(parent, e.Name())
		if info, err := os.Lstat(path); err != nil || !info.IsDir() || !mine(info) {
			continue
		}
		lock, err := takeLock(path, 0)
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(path) // only if it is empty
			continue
		}
		if err != nil {
			continue
		}
		err = os.RemoveAll(path)
		_ = lock.Close()
		if err != nil {
			return fmt.Errorf("remove what a dead process left: %w", err)
		}
	}
	return nil
}

func mine(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// takeLock takes the lock of a directory, or fails if another process has it.
// With os.O_CREATE the lock is made where it is not there yet.
func takeLock(dir string, create int) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	lock, err := os.OpenFile(path, create|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock a directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	// Who held it before may have removed the directory meanwhile.
	held, err := lock.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && !os.SameFile(held, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return lock, nil
}

// close removes the directory.
func (d *ownDir) close() {
	_ = os.RemoveAll(d.path)
	_ = d.lock.Close()
}

// workSubdir is where the directories of workspaces lie in the data directory.
const workSubdir = "work"

// openWorkDir makes this process's own place for workspaces. Several processes
// may share a data directory.
func openWorkDir(parent string) (*ownDir, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of workspaces: %w", err)
	}
	return makeOwnDir(parent, "worker-")
}

// openSocketDir makes this process's own place for the sockets of its plugins,
// among temporary files: a socket's address must be short, which a data
// directory's need not be.
func openSocketDir() (*ownDir, error) { return makeOwnDir(os.TempDir(), "iib-sockets-") }
