package servecache

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	pogrebfs "github.com/akrylysov/pogreb/fs"
)

// view shows a layout as the file system of the pogreb library: the database
// as it will be published, without writing it anywhere. What the library writes
// when it closes is dropped.
type view struct {
	files map[string]viewContent
}

type viewContent struct {
	size   int64
	readAt func(p []byte, off int64) error
}

func newView(l *layout) *view {
	v := &view{files: make(map[string]viewContent)}
	for _, s := range l.segments {
		v.files[s.name()] = viewContent{s.size, s.readAt}
	}
	for name, data := range l.tables() {
		v.files[name] = viewContent{int64(len(data)), inMemory(data).readAt}
	}
	return v
}

// readAt fills p from an offset of the segment.
func (s *segment) readAt(p []byte, off int64) error {
	// The extent that off lies in is the last that begins at or before it.
	i, found := slices.BinarySearchFunc(s.content, off, func(e extent, off int64) int {
		switch {
		case e.off < off:
			return -1
		case e.off > off:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	for ; len(p) > 0; i++ {
		e := s.content[i]
		n := min(int64(len(p)), e.off+e.Size-off)
		if err := e.readAt(p[:n], off-e.off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// The library names files by a path, of which the last element is theirs.
func (v *view) content(name string) (viewContent, error) {
	c, ok := v.files[path.Base(name)]
	if !ok {
		return viewContent{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return c, nil
}

func (v *view) OpenFile(name string, flag int, _ os.FileMode) (pogrebfs.File, error) {
	if flag&os.O_TRUNC != 0 {
		return &viewFile{name: path.Base(name), dropped: true}, nil
	}
	c, err := v.content(name)
	if err != nil {
		return nil, err
	}
	return &viewFile{name: path.Base(name), content: c}, nil
}

func (v *view) Stat(name string) (os.FileInfo, error) {
	c, err := v.content(name)
	return nodeInfo{name: name, size: c.size}, err
}

func (v *view) ReadDir(string) ([]os.FileInfo, error) {
	var list []os.FileInfo
	for name, c := range v.files {
		list = append(list, nodeInfo{name: name, size: c.size})
	}
	slices.SortFunc(list, func(a, b os.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

func (v *view) Remove(string) error      { return fs.ErrPermission }
func (v *view) Rename(_, _ string) error { return fs.ErrPermission }
func (v *view) Unlock() error            { return nil }
func (v *view) CreateLockFile(string, os.FileMode) (pogrebfs.LockFile, bool, error) {
	return v, false, nil
}

// viewFile is an open file of a view; dropped if it is being written anew.
type viewFile struct {
	name    string
	content viewContent
	dropped bool
	pos     int64
}

func (f *viewFile) Slice(start, end int64) ([]byte, error) {
	if start < 0 || end < start || end > f.content.size {
		return nil, io.EOF
	}
	p := make([]byte, end-start)
	return p, f.content.readAt(p, start)
}

func (f *viewFile) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), f.content.size-off))
	if n > 0 {
		if err := f.content.readAt(p[:n], off); err != nil {
			return 0, err
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (f *viewFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *viewFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		off += f.content.size
	}
	f.pos = off
	return off, nil
}

func (f *viewFile) write(p []byte) (int, error) {
	if !f.dropped {
		return 0, fs.ErrPermission
	}
	return len(p), nil
}

func (f *viewFile) Write(p []byte) (int, error)            { return f.write(p) }
func (f *viewFile) WriteAt(p []byte, _ int64) (int, error) { return f.write(p) }
func (f *viewFile) Truncate(int64) error                   { return fs.ErrPermission }
func (f *viewFile) Sync() error                            { return nil }
func (f *viewFile) Close() error                           { return nil }
func (f *viewFile) Stat() (os.FileInfo, error) {
	return nodeInfo{name: f.name, size: f.content.size}, nil
}

var _ interface {
	pogrebfs.FileSystem
	pogrebfs.LockFile
} = (*view)(nil)
