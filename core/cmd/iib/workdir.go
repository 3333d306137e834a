package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// workDir is this process's own place for workspaces. Several processes may
// share a data directory; each holds a lock on its part, and who starts removes
// the parts that nobody holds: what a killed process left.
type workDir struct {
	path string
	lock *os.File
}

// workSubdir is where workspaces lie in the data directory, and workLock the
// file that a process holds in its own.
const (
	workSubdir = "work"
	workLock   = ".lock"
)

func openWorkDir(parent string) (*workDir, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of workspaces: %w", err)
	}
	if err := sweepWorkDirs(parent); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, "worker-")
	if err != nil {
		return nil, fmt.Errorf("make a directory of workspaces: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	// Who holds the lock is told to those who look for a running engine.
	if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
		return nil, fmt.Errorf("mark the directory of workspaces: %w", err)
	}
	return &workDir{path, lock}, nil
}

// sweepWorkDirs removes what no living process holds.
func sweepWorkDirs(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("look for old workspaces: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		lock, err := lockDir(path)
		if err != nil {
			continue
		}
		err = os.RemoveAll(path)
		_ = lock.Close()
		if err != nil {
			return fmt.Errorf("remove an old workspace: %w", err)
		}
	}
	return nil
}

// lockDir takes the lock of a directory, or fails if another process has it.
func lockDir(path string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(path, workLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock workspaces: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock workspaces: %w", err)
	}
	return lock, nil
}

func (w *workDir) close() {
	_ = os.RemoveAll(w.path)
	_ = w.lock.Close()
}
