package cas

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	tempPrefix = "tmp-"
	// tempAge is when an unfinished file is taken for left behind.
	tempAge = 6 * time.Hour
	// trimShare is the part of the limit after whose writing a trim is due;
	// listing a full store takes some milliseconds, so not after each write.
	trimShare = 16
)

func (s *Store) wrote(n int64) {
	if s.written.Add(n) < s.limit/trimShare {
		return
	}
	s.written.Store(0)
	// A failure to trim is no failure of the write that caused it; the next
	// one tries again.
	_ = s.Trim()
}

// Trim drops what was not used for longest until the store is within its
// limit. The store trims itself; a caller needs it only to do so early.
func (s *Store) Trim() error {
	if !s.trimming.TryLock() {
		return nil
	}
	defer s.trimming.Unlock()

	type file struct {
		path string
		size int64
		used time.Time
	}
	var (
		files []file
		total int64
		now   = time.Now()
	)
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			// Another process may delete what we are looking at.
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if strings.HasPrefix(d.Name(), tempPrefix) {
			if now.Sub(info.ModTime()) > tempAge {
				_ = os.Remove(path)
			}
			return nil
		}
		files = append(files, file{path, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return err
	}
	if total <= s.limit {
		return nil
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.path, b.path))
	})
	// Some room below the limit keeps the next write from trimming again.
	target := s.limit - s.limit/trimShare
	for _, f := range files {
		if total <= target || now.Sub(f.used) < s.grace {
			break
		}
		if err := os.Remove(f.path); err == nil {
			total -= f.size
		}
	}
	return nil
}
