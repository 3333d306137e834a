package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// Entry is a directory or a regular file of a layer.
type Entry struct {
	// Name is the path in the image, without a leading slash: "configs/a.json".
	Name string
	// Mode is fs.ModeDir or nothing, and permission bits.
	Mode fs.FileMode
	// UID and GID own the entry.
	UID, GID int
	// Content is the file's content, part after part; empty for a directory.
	Content []Part
}

// Part is a run of bytes of a file. Where parts meet is where the content is
// cut for reuse, so a file that is assembled from independent pieces has a
// part for each: when one changes, the others are still found.
type Part struct {
	// Size is the number of bytes.
	Size int64
	// Digest is "sha256:..." of the bytes. Where it is set, the bytes are
	// checked against it.
	Digest string
	// Open returns the bytes. It is called at most once per Write, and may be
	// nil if Size is 0.
	Open func() (io.ReadCloser, error)
}

// Bytes returns a part that lies in memory. The caller must not change data.
func Bytes(data []byte) Part {
	return Part{
		Size: int64(len(data)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// Directory returns a directory's entry, owned by root.
func Directory(name string, mode fs.FileMode) Entry {
	return Entry{Name: name, Mode: fs.ModeDir | mode.Perm()}
}

// Opaque returns the entry that hides what lower layers have in a directory.
// It follows the directory's own entry.
func Opaque(dir string) Entry {
	return Entry{Name: path.Join(dir, ".wh..wh..opq"), Mode: 0o644}
}

// Whiteout returns the entry that hides one path of the lower layers.
func Whiteout(name string) Entry {
	return Entry{Name: path.Join(path.Dir(name), ".wh."+path.Base(name)), Mode: 0o644}
}

// size is the length of the file.
func (e *Entry) size() int64 {
	var n int64
	for _, p := range e.Content {
		n += p.Size
	}
	return n
}

// check refuses what no archive should hold.
func (e *Entry) check() error {
	if !fs.ValidPath(e.Name) || e.Name == "." || strings.ContainsRune(e.Name, 0) {
		return sdk.Errorf(sdk.Internal, "layer entry %q: not a clean relative path", e.Name)
	}
	if e.Mode.Type()&^fs.ModeDir != 0 {
		return sdk.Errorf(sdk.Internal, "layer entry %s: mode %v is neither a directory's nor a regular file's", e.Name, e.Mode)
	}
	for _, p := range e.Content {
		if p.Size < 0 || e.Mode.IsDir() {
			return sdk.Errorf(sdk.Internal, "layer entry %s: content of %d bytes", e.Name, p.Size)
		}
	}
	return nil
}

// epoch is the time of every entry.
var epoch = time.Unix(0, 0)

// header returns the archive's blocks that come before the content.
func (e *Entry) header() ([]byte, error) {
	h := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     e.Name,
		Mode:     int64(e.Mode.Perm()),
		Uid:      e.UID,
		Gid:      e.GID,
		Size:     e.size(),
		ModTime:  epoch,
	}
	if e.Mode.IsDir() {
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	}
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).WriteHeader(h); err != nil {
		return nil, fmt.Errorf("layer entry %s: %w", e.Name, err)
	}
	return buf.Bytes(), nil
}

const blockSize = 512

// padding is the number of bytes that fill content up to a block.
func padding(size int64) int { return int(-size & (blockSize - 1)) }

// trailer ends an archive.
var trailer [2 * blockSize]byte
