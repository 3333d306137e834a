package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// File is a file or directory of a catalog on its way into a store.
type File struct {
	// Name is the path below the catalog's directory; "." is the directory.
	Name string
	// Mode is fs.ModeDir or nothing, and permission bits.
	Mode     fs.FileMode
	UID, GID int
	// Content is read before the next file is asked for; nil for a directory.
	Content io.Reader
	// SameAs, if not empty, is the path of an earlier file with the same
	// content, mode and owner, to be taken instead: a hard link in an archive.
	SameAs string
}

// Source gives the files of a catalog, one after the other, to add, and stops
// at the first error. Parents need not come first, nor at all; of two files
// with one name the later wins.
type Source func(ctx context.Context, add func(File) error) error

// FromFS reads a catalog from a file system whose root is the catalog's
// directory. Owners are taken for root.
func FromFS(fsys fs.FS) Source {
	return func(_ context.Context, add func(File) error) error {
		return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			file := File{Name: name, Mode: info.Mode()}
			if !info.Mode().IsRegular() {
				return add(file)
			}
			f, err := fsys.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			file.Content = f
			return add(file)
		})
	}
}

// FromTar reads a catalog from an uncompressed archive in which the whiteouts
// of layers are resolved already. Only what is below root, such as "configs",
// is read. open is called when the catalog is not remembered.
func FromTar(open func(ctx context.Context) (io.ReadCloser, error), root string) Source {
	root = path.Clean(strings.Trim(root, "/"))
	return func(ctx context.Context, add func(File) error) error {
		r, err := open(ctx)
		if err != nil {
			return err
		}
		defer r.Close()
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
				return invalid("archive: %v", err)
			}
			if err != nil {
				return fmt.Errorf("catalog archive: %w", err)
			}
			name, ok := below(root, h.Name)
			if !ok {
				continue
			}
			file := File{Name: name, Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid}
			switch h.Typeflag {
			case tar.TypeReg:
				file.Content = archive
			case tar.TypeLink:
				if file.SameAs, ok = below(root, h.Linkname); !ok {
					return invalid("file %s: a hard link to %s, which is not in the catalog", name, h.Linkname)
				}
			}
			if err := add(file); err != nil {
				return err
			}
		}
	}
}

// below returns a path of an archive relative to root, if it is there. A path
// that climbs is given as it is, to be refused with its name.
func below(root, name string) (string, bool) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if root == "." {
		return clean, true
	}
	if clean == root {
		return ".", true
	}
	return strings.CutPrefix(clean, root+"/")
}
