package image

import (
	"archive/tar"
	"context"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// ExtractDirs writes directories and files of an image below dst, at their own
// paths; see Files.Extract. arch chooses an image of a list as Inspect does.
func (c *Client) ExtractDirs(ctx context.Context, spec, arch, dst string, paths ...string) error {
	info, err := c.Inspect(ctx, spec, arch)
	if err != nil {
		return err
	}
	return c.Files(info).Extract(ctx, dst, paths...)
}

// ReadFile returns a file of an image; see Files.ReadFile.
func (c *Client) ReadFile(ctx context.Context, spec, arch, name string, limit int64) ([]byte, error) {
	info, err := c.Inspect(ctx, spec, arch)
	if err != nil {
		return nil, err
	}
	return c.Files(info).ReadFile(ctx, name, limit)
}

// ReadFile returns the content of a file of at most limit bytes.
func (f *Files) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	file, err := f.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if file.Dir {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: %s is a directory, not a file", f.info.Ref, name)
	}
	if file.Size > limit {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: %s has %d bytes; at most %d are allowed", f.info.Ref, name, file.Size, limit)
	}
	var data []byte
	err = f.read(ctx, file.layer, map[int]bool{file.seq: true}, func(_ int, r io.Reader) error {
		data, err = io.ReadAll(r)
		return err
	})
	return data, err
}

// Extract writes the directories and files at the given paths of the image to
// the same paths below dst, which is made when missing. Without paths it writes
// the whole image. A path that does not exist is NotFound.
//
// Only regular files and directories are written, never links: where the image
// has a link, its target's content is written, provided that it lies in the
// image. Devices and pipes are Invalid. Permission bits are the image's, except
// that the owner, who is the caller, may always read and write. Files that were
// in dst are replaced. After an error dst holds a part of the files, perhaps
// unverified; remove it.
func (f *Files) Extract(ctx context.Context, dst string, paths ...string) error {
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	p := &extraction{f: f, dirs: make(map[string]int64), files: make(map[string]File)}
	for _, name := range paths {
		elems, ok := splitPath(name)
		if !ok {
			return sdk.Errorf(sdk.Invalid, "image %s: the path %.200q leads out of the image", f.info.Ref, name)
		}
		if err := p.plan(ctx, elems, elems, nil); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return sdk.Errorf(sdk.Internal, "extract %s: %v", f.info.Ref, err)
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "extract %s: %v", f.info.Ref, err)
	}
	defer root.Close()
	return p.write(ctx, root)
}

// extraction is what will be written, by path below the destination. It is
// complete, and within the limits, before the first byte is.
type extraction struct {
	f     *Files
	dirs  map[string]int64
	files map[string]File
	total int64
}

// plan adds what is at elems in the image, to be written at dest. above are the
// directories that lead there, without links, so that a link to one of them is
// found to be a circle.
func (p *extraction) plan(ctx context.Context, elems, dest, above []string) error {
	name := "/" + strings.Join(dest, "/")
	file, err := p.f.resolve(ctx, name, elems)
	if err != nil {
		return err
	}
	target := path.Join(dest...)
	if !file.Dir {
		return p.planFile(target, file)
	}
	at := strings.Join(file.at, "/")
	if slices.Contains(above, at) {
		return sdk.Errorf(sdk.Invalid, "image %s: %s is a link to a directory that it lies in", p.f.info.Ref, name)
	}
	if len(above) > maxDepth {
		return sdk.Errorf(sdk.Invalid, "image %s: %s lies more than %d directories deep", p.f.info.Ref, name, maxDepth)
	}
	p.dirs[target] = file.Mode
	if err := p.checkCount(); err != nil {
		return err
	}
	names, err := p.f.names(ctx, file.at)
	if err != nil {
		return err
	}
	above = append(slices.Clip(above), at)
	for _, name := range names {
		if err := p.plan(ctx, append(slices.Clip(file.at), name), append(slices.Clip(dest), name), above); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth bounds the recursion; no catalog comes near it.
const maxDepth = 255

func (p *extraction) planFile(target string, file File) error {
	limits := p.f.c.limits
	if file.Size > limits.File {
		return sdk.Errorf(sdk.Invalid, "image %s: /%s has %d bytes; at most %d are allowed", p.f.info.Ref, target, file.Size, limits.File)
	}
	if _, ok := p.files[target]; ok {
		return nil
	}
	p.files[target] = file
	if p.total += file.Size; p.total > limits.Total {
		return sdk.Errorf(sdk.Invalid, "image %s: the files together have more than %d bytes, which is the limit", p.f.info.Ref, limits.Total)
	}
	return p.checkCount()
}

func (p *extraction) checkCount() error {
	if n := p.f.c.limits.Entries; len(p.dirs)+len(p.files) > n {
		return sdk.Errorf(sdk.Invalid, "image %s: there are more than %d files to extract, which is the limit", p.f.info.Ref, n)
	}
	return nil
}

func (p *extraction) write(ctx context.Context, root *os.Root) error {
	broken := func(err error) error {
		return sdk.Errorf(sdk.Internal, "extract %s: %v", p.f.info.Ref, err)
	}
	for _, dir := range slices.Sorted(maps.Keys(p.dirs)) {
		if err := root.MkdirAll(orDot(dir), 0o755); err != nil {
			return broken(err)
		}
	}
	// One pass over each layer that has some of the files.
	type place = map[int][]string
	layers := make(map[int]place)
	for _, target := range slices.Sorted(maps.Keys(p.files)) {
		file := p.files[target]
		if layers[file.layer] == nil {
			layers[file.layer] = make(place)
		}
		layers[file.layer][file.seq] = append(layers[file.layer][file.seq], target)
		if err := root.MkdirAll(path.Dir(target), 0o755); err != nil {
			return broken(err)
		}
	}
	for layer, places := range layers {
		wanted := make(map[int]bool, len(places))
		for seq := range places {
			wanted[seq] = true
		}
		err := p.f.read(ctx, layer, wanted, func(seq int, r io.Reader) error {
			targets := places[seq]
			if err := writeFile(root, targets[0], p.files[targets[0]].Mode, r); err != nil {
				return err
			}
			for _, target := range targets[1:] {
				if err := copyFile(root, targets[0], target, p.files[target].Mode); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// Last, so that a directory without write permission can be filled.
	for _, dir := range slices.Backward(slices.Sorted(maps.Keys(p.dirs))) {
		if err := root.Chmod(orDot(dir), os.FileMode(p.dirs[dir]|0o700)); err != nil {
			return broken(err)
		}
	}
	return nil
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// diskError is a fault of the destination, not of the image.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }

func writeFile(root *os.Root, name string, mode int64, r io.Reader) error {
	w, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return &diskError{err}
	}
	defer w.Close()
	if _, err := io.Copy(diskWriter{w}, r); err != nil {
		return err
	}
	// Not at creation, where the umask would take part.
	if err := w.Chmod(os.FileMode(mode | 0o600)); err != nil {
		return &diskError{err}
	}
	if err := w.Close(); err != nil {
		return &diskError{err}
	}
	return nil
}

func copyFile(root *os.Root, from, to string, mode int64) error {
	r, err := root.Open(from)
	if err != nil {
		return &diskError{err}
	}
	defer r.Close()
	return writeFile(root, to, mode, r)
}

// diskWriter tells errors of writing from those of reading.
type diskWriter struct{ w io.Writer }

func (d diskWriter) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		err = &diskError{err}
	}
	return n, err
}

// read calls visit with the wanted entries of a layer and reads no further than
// the last of them. It starts over when the layer arrives damaged.
func (f *Files) read(ctx context.Context, layer int, wanted map[int]bool, visit func(seq int, r io.Reader) error) error {
	l := f.info.Layers[layer]
	return f.c.attempt(ctx, layerSubject(f.info.Ref, l), func(ctx context.Context) error {
		seq, left := 0, len(wanted)
		return f.c.walk(ctx, f.info.Ref, l, func(_ *tar.Header, r io.Reader) error {
			this := seq
			seq++
			if !wanted[this] {
				return nil
			}
			if err := visit(this, r); err != nil {
				if disk, ok := err.(*diskError); ok {
					return sdk.Errorf(sdk.Internal, "extract %s: %v", f.info.Ref, disk.err)
				}
				return err
			}
			if left--; left == 0 {
				return ErrStop
			}
			return nil
		})
	})
}
