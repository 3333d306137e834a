package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/sdk"
)

// Root is a finished tree whose files are looked at and changed. Paths are
// absolute in the image; links are followed as the image would, which is never
// out of it. Nothing else may change the tree meanwhile.
type Root struct {
	dir  string
	root *os.Root
}

// Open opens the tree in a directory.
func Open(dir string) (*Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "tree: %w", err)
	}
	return &Root{dir, root}, nil
}

// Close ends the use of the tree.
func (r *Root) Close() error { return r.root.Close() }

// Dir is where the tree lies.
func (r *Root) Dir() string { return r.dir }

// resolve returns the path, relative to the tree, without any link in it; the
// last element is followed only if follow is set, and need not exist.
func (r *Root) resolve(name string, follow bool) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", sdk.Errorf(sdk.Invalid, "path %q has a zero byte", name)
	}
	rest := strings.Split(name, "/")
	var done []string
	for links := 0; len(rest) > 0; {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			if len(done) > 0 {
				done = done[:len(done)-1]
			}
			continue
		}
		at := path.Join(append(done[:len(done):len(done)], element)...)
		info, err := r.root.Lstat(at)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 && (follow || len(rest) > 0) {
			if links++; links > 40 {
				return "", sdk.Errorf(sdk.Invalid, "path %s: too many links", name)
			}
			target, err := r.root.Readlink(at)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(target, "/") {
				done = nil
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		done = append(done, element)
	}
	if len(done) == 0 {
		return ".", nil
	}
	return path.Join(done...), nil
}

// Lstat tells of a file, of a link itself.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	at, err := r.resolve(name, false)
	if err != nil {
		return nil, err
	}
	return r.root.Lstat(at)
}

// Stat tells of the file that a path leads to.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	at, err := r.resolve(name, true)
	if err != nil {
		return nil, err
	}
	return r.root.Lstat(at)
}

// Exists reports whether a path leads to something.
func (r *Root) Exists(name string) bool {
	_, err := r.Stat(name)
	return err == nil
}

// Readlink returns what a link says.
func (r *Root) Readlink(name string) (string, error) {
	at, err := r.resolve(name, false)
	if err != nil {
		return "", err
	}
	return r.root.Readlink(at)
}

// most bounds a configuration file that is read whole.
const most = 16 << 20

// ReadFile reads a regular file.
func (r *Root) ReadFile(name string) ([]byte, error) {
	at, err := r.resolve(name, true)
	if err != nil {
		return nil, err
	}
	info, err := r.root.Lstat(at)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, sdk.Errorf(sdk.Invalid, "%s in the tree is no regular file of at most %d bytes", name, most)
	}
	return r.root.ReadFile(at)
}

// ReadDir lists a directory, sorted.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	at, err := r.resolve(name, true)
	if err != nil {
		return nil, err
	}
	return fs.ReadDir(r.root.FS(), at)
}

// Owner is who something new belongs to, and its permission bits.
type Owner struct {
	UID, GID int
	Mode     fs.FileMode
}

// WriteFile writes a file, which replaces a link to it only if that leads
// nowhere. A file that is there keeps its owner and mode; a new one is o's, and
// so are the directories that lead to it, which can be searched besides.
func (r *Root) WriteFile(name string, content []byte, o Owner) error {
	at, err := r.resolve(name, true)
	if err != nil {
		return err
	}
	if err := r.Mkdir(path.Dir("/"+at), Owner{Mode: 0o755}); err != nil {
		return err
	}
	info, err := r.root.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return sdk.Errorf(sdk.Invalid, "%s in the tree is no regular file", name)
	default:
		o.UID, o.GID = owner(info)
		o.Mode = info.Mode()
	}
	// Never through the old file: it may have other names.
	temporary := path.Join(path.Dir(at), ".composer-new")
	f, err := r.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chown(outside(o.UID, os.Geteuid()), outside(o.GID, os.Getegid()))
	}
	if err == nil {
		err = f.Chmod(o.Mode &^ fs.ModeType)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = r.root.Rename(temporary, at)
	}
	if err != nil {
		_ = r.root.Remove(temporary)
		return fmt.Errorf("write %s in the tree: %w", name, err)
	}
	return nil
}

// Mkdir makes a directory and those that lead to it. What is there stays as it
// is.
func (r *Root) Mkdir(name string, o Owner) error {
	at, err := r.resolve(name, true)
	if err != nil {
		return err
	}
	if at == "." {
		return nil
	}
	done := ""
	for element := range strings.SplitSeq(at, "/") {
		done = path.Join(done, element)
		info, err := r.root.Lstat(done)
		if err == nil {
			if !info.IsDir() {
				return sdk.Errorf(sdk.Invalid, "/%s in the tree is no directory", done)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made := Owner{Mode: 0o755}
		if done == at {
			made = o
		}
		if err := r.root.Mkdir(done, 0o700); err != nil {
			return err
		}
		if err := r.root.Chown(done, outside(made.UID, os.Geteuid()), outside(made.GID, os.Getegid())); err != nil {
			return err
		}
		if err := r.root.Chmod(done, made.Mode); err != nil {
			return err
		}
	}
	return nil
}

// Chown changes owner and mode of what a path leads to.
func (r *Root) Chown(name string, o Owner) error {
	at, err := r.resolve(name, true)
	if err != nil {
		return err
	}
	if err := r.root.Lchown(at, outside(o.UID, os.Geteuid()), outside(o.GID, os.Getegid())); err != nil {
		return err
	}
	return r.root.Chmod(at, o.Mode)
}

// Link makes a symbolic link in place of what is there, unless that is a
// directory.
func (r *Root) Link(target, name string) error {
	at, err := r.resolve(name, false)
	if err != nil {
		return err
	}
	if err := r.Mkdir(path.Dir("/"+at), Owner{Mode: 0o755}); err != nil {
		return err
	}
	if err := r.root.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.root.Symlink(target, at)
}

// Remove removes a file, a link itself, or a directory with all that is in it.
// What is not there is removed.
func (r *Root) Remove(name string) error {
	at, err := r.resolve(name, false)
	if err != nil {
		return err
	}
	if at == "." {
		return sdk.Errorf(sdk.Internal, "remove %s: that is the whole tree", name)
	}
	return r.root.RemoveAll(at)
}

func owner(info fs.FileInfo) (uid, gid int) {
	s, ok := statOf(info)
	if !ok {
		return 0, 0
	}
	return inside(int(s.Uid), os.Geteuid()), inside(int(s.Gid), os.Getegid())
}

// Without root, what is root's in a tree is ours on the host, as the user name
// space has it that the packages were installed in.

// outside is what the host calls an owner in a tree.
func outside(id, ours int) int {
	if id == 0 {
		return ours
	}
	return id
}

// inside is what a tree calls an owner on the host.
func inside(id, ours int) int {
	if id == ours {
		return 0
	}
	return id
}

// noFollow is for operations on links themselves.
const noFollow = unix.AT_SYMLINK_NOFOLLOW

// Touch gives a file, and the directories that lead to it, a time unless theirs
// is older.
func (r *Root) Touch(name string, at time.Time) error {
	p, err := r.resolve(name, false)
	if err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(at.UnixNano())}
	for {
		info, err := r.root.Lstat(p)
		if err != nil {
			return err
		}
		if info.ModTime().After(at) {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(r.dir, p), times, noFollow); err != nil {
				return err
			}
		}
		if p == "." {
			return nil
		}
		p = path.Dir(p)
	}
}

// Real is where the regular file lies that a path leads to.
func (r *Root) Real(name string) (string, error) {
	at, err := r.resolve(name, true)
	if err != nil {
		return "", err
	}
	info, err := r.root.Lstat(at)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", sdk.Errorf(sdk.Invalid, "%s in the tree is no regular file", name)
	}
	return filepath.Join(r.dir, at), nil
}
