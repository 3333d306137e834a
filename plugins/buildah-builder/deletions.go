package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/iib-engine/iib/sdk"
)

// deletions are what a layer removes of those below it. Inside a layer they are
// files with reserved names; buildah, which adds files to a container, takes
// such names for ordinary ones.
type deletions struct {
	// emptied are directories whose content goes, gone are files and
	// directories that go themselves.
	emptied []string
	gone    []string
}

func (d *deletions) empty() bool { return len(d.emptied) == 0 && len(d.gone) == 0 }

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// deletion returns what an archive's entry deletes; is tells whether its name
// is a reserved one.
func deletion(name string) (target string, empties, is bool) {
	dir, base := path.Split(path.Clean("/" + name))
	dir = strings.TrimPrefix(path.Clean(dir), "/")
	if dir == "" {
		dir = "."
	}
	switch {
	case base == opaque:
		return dir, true, true
	case strings.HasPrefix(base, whiteout):
		gone := strings.TrimPrefix(base, whiteout)
		if gone == "" || gone == "." || gone == ".." {
			// It names nothing that a directory has.
			return "", false, true
		}
		return path.Join(dir, gone), false, true
	}
	return "", false, false
}

func readDeletions(layer string) (*deletions, error) {
	d := new(deletions)
	err := walk(layer, func(h *tar.Header, _ io.Reader) error {
		target, empties, is := deletion(h.Name)
		switch {
		case is && empties:
			d.emptied = append(d.emptied, target)
		case is && target != "":
			d.gone = append(d.gone, target)
		}
		return nil
	})
	return d, err
}

// withoutDeletions copies a layer's archive, uncompressed.
func withoutDeletions(layer, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "copy layer: %v", err)
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buffered)
	err = walk(layer, func(h *tar.Header, r io.Reader) error {
		if _, _, is := deletion(h.Name); is {
			return nil
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(w, r)
		return err
	})
	for _, step := range []func() error{w.Close, buffered.Flush, f.Close} {
		if err == nil {
			if err = step(); err != nil {
				err = sdk.Errorf(sdk.Internal, "copy layer: %v", err)
			}
		}
	}
	return err
}

func walk(layer string, visit func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(layer)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "layer file: %v", err)
	}
	defer f.Close()
	r, err := unpack(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "layer file %s: %v", layer, err)
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = visit(h, tr)
		}
		if err != nil {
			return sdk.Errorf(sdk.Invalid, "layer file %s: %v", layer, err)
		}
	}
}

func unpack(r *bufio.Reader) (io.ReadCloser, error) {
	magic, err := r.Peek(4)
	switch {
	case err != nil:
		return nil, err
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// apply removes from the mounted container. Links in the base cannot lead it
// out of there.
func (d *deletions) apply(mounted string) error {
	root, err := os.OpenRoot(mounted)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "delete from container: %v", err)
	}
	defer root.Close()
	for _, dir := range d.emptied {
		if err := emptyDir(root, dir); err != nil {
			return sdk.Errorf(sdk.Internal, "delete from container: %v", err)
		}
	}
	for _, name := range d.gone {
		if err := root.RemoveAll(name); err != nil {
			return sdk.Errorf(sdk.Internal, "delete from container: %v", err)
		}
	}
	return nil
}

func emptyDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := root.RemoveAll(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
