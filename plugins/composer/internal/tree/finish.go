package tree

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/sdk"
)

func statOf(info fs.FileInfo) (*syscall.Stat_t, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	return s, ok
}

// traces are what installing leaves behind and what must differ between two
// machines: removed wherever a path matches.
var traces = []string{
	"/etc/ssh/ssh_host_*",
	"/var/lib/dbus/machine-id",
	"/var/lib/systemd/random-seed", "/var/lib/random-seed", "/var/lib/urandom/random-seed", "/boot/loader/random-seed",
	"/var/lib/systemd/credential.secret",
	"/var/cache/dnf/*", "/var/cache/yum/*", "/var/cache/libdnf5/*", "/var/lib/dnf", "/var/lib/yum",
	"/var/log/dnf*.log", "/var/log/hawkey.log", "/var/log/yum.log",
	"/var/lib/rpm/.rpm.lock", "/var/lib/rpm/__db.*", "/usr/lib/sysimage/rpm/.rpm.lock",
	"/var/tmp/rpm-tmp.*", "/tmp/*", "/root/.rpmdb",
}

// Clean removes the traces of the build.
func (r *Root) Clean() error {
	for _, pattern := range traces {
		dir, name := path.Split(pattern)
		entries, err := r.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if ok, _ := path.Match(name, e.Name()); !ok {
				continue
			}
			if err := r.Remove(dir + e.Name()); err != nil {
				return sdk.Errorf(sdk.Internal, "clean the tree: %w", err)
			}
		}
	}
	// An empty file, not a missing one, makes systemd give the machine an ID of
	// its own at its first start.
	if err := r.Remove("/etc/machine-id"); err != nil {
		return sdk.Errorf(sdk.Internal, "clean the tree: %w", err)
	}
	return r.WriteFile("/etc/machine-id", nil, Owner{Mode: 0o444})
}

// Clamp gives everything that is younger than epoch its time.
func (r *Root) Clamp(ctx context.Context, epoch time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(epoch.UnixNano())}
	err := filepath.WalkDir(r.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil || !info.ModTime().After(epoch) {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, times, noFollow)
	})
	if err != nil && ctx.Err() == nil {
		return sdk.Errorf(sdk.Internal, "set times in the tree: %w", err)
	}
	return err
}

// Entry is one file of a tree.
type Entry struct {
	// Name is relative to the tree, "." for itself.
	Name string
	Info fs.FileInfo
	// Stat is the host's; UID and GID are the tree's.
	Stat     *syscall.Stat_t
	UID, GID int
	// Link is what a symbolic link says.
	Link string
	// Xattrs are the extended attributes that belong to an image.
	Xattrs map[string]string
}

// Path is where the entry lies.
func (r *Root) Path(e Entry) string { return filepath.Join(r.dir, e.Name) }

// Walk calls f with each entry, a directory before what is in it, siblings
// sorted by their bytes. Sockets are left out: nothing listens on them.
func (r *Root) Walk(ctx context.Context, f func(Entry) error) error {
	return filepath.WalkDir(r.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil || info.Mode()&fs.ModeSocket != 0 {
			return err
		}
		name, err := filepath.Rel(r.dir, p)
		if err != nil {
			return err
		}
		e := Entry{Name: name, Info: info}
		e.Stat, _ = statOf(info)
		e.UID, e.GID = owner(info)
		if info.Mode()&fs.ModeSymlink != 0 {
			if e.Link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		if e.Xattrs, err = xattrs(p); err != nil {
			return err
		}
		return f(e)
	})
}

// xattrs reads the attributes that packages set: capabilities, access lists and
// what users may set. Labels are the host's policy.
func xattrs(p string) (map[string]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err == unix.ENOTSUP || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: p, Err: err}
	}
	var found map[string]string
	for _, name := range slices.Sorted(strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00")) {
		if name != "security.capability" && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr", Path: p, Err: err}
		}
		if found == nil {
			found = make(map[string]string)
		}
		found[name] = string(value[:n])
	}
	return found, nil
}

// Size is how many bytes and entries a tree has, each file rounded up to a
// block of 4096.
func (r *Root) Size(ctx context.Context) (bytes, entries int64, err error) {
	seen := make(map[uint64]bool)
	err = filepath.WalkDir(r.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		entries++
		if s, ok := statOf(info); ok && s.Nlink > 1 && !info.IsDir() {
			if seen[s.Ino] {
				return nil
			}
			seen[s.Ino] = true
		}
		bytes += (info.Size() + 4095) &^ 4095
		if info.IsDir() {
			bytes += 4096
		}
		return nil
	})
	return bytes, entries, err
}
