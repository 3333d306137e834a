// Package intake reads a zip of manifests from a stranger. Nothing of it ever
// reaches the disk: an archive is small, or it is refused.
package intake

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
)

// Files are an archive's regular files by relative path, with slashes.
type Files map[string][]byte

// Paths returns the paths in the order of their bytes.
func (f Files) Paths() []string {
	paths := make([]string, 0, len(f))
	for name := range f {
		paths = append(paths, name)
	}
	slices.Sort(paths)
	return paths
}

const (
	// maxEntries bounds the members; operators have a few hundred.
	maxEntries = 10_000
	maxName    = 1024
	maxDepth   = 32
)

// encrypted is the bit of a member's flags that says so.
const encrypted = 0x1

// CheckName demands the extension that an uploaded file must have.
func CheckName(name string) error {
	if !strings.EqualFold(path.Ext(name), ".zip") {
		return fault.New(fault.UploadedFile, "The uploaded file must have the file extension .zip.")
	}
	return nil
}

// Read unpacks a zip whose members have at most limit bytes together.
func Read(data []byte, limit int64) (Files, error) {
	// The reader makes a value per entry of the directory, whatever the end
	// record says of their number; so they are counted before it begins.
	if bytes.Count(data, []byte("PK\x01\x02")) > maxEntries {
		return nil, refuse("The archive has more than %d entries, which is the most that is taken.", maxEntries)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, refuse("The uploaded file is not a zip file, or it is damaged.")
	}
	// The reader compares the number of members with the low bits only of what
	// the end record says; a zip without any is nothing but an end record.
	if len(archive.File) == 0 && !bytes.HasPrefix(data, []byte("PK\x05\x06")) && !bytes.HasPrefix(data, []byte("PK\x06\x06")) {
		return nil, refuse("The uploaded file is not a zip file, or it is damaged: its directory is not where its end says.")
	}
	if err := checkSizes(archive.File, limit); err != nil {
		return nil, err
	}
	files, dirs := make(Files), make(map[string]bool)
	left := limit
	for _, member := range archive.File {
		name, err := checkMember(member)
		if err != nil {
			return nil, err
		}
		isDir := strings.HasSuffix(member.Name, "/")
		if isDir && name == "." {
			continue
		}
		if err := place(files, dirs, name, isDir); err != nil {
			return nil, err
		}
		content, err := inflate(member, left)
		if err != nil {
			return nil, err
		}
		if left -= int64(len(content)); !isDir {
			files[name] = content
		}
	}
	return files, nil
}

func refuse(format string, args ...any) error {
	return fault.New(fault.UploadedFile, format, args...)
}

func checkSizes(members []*zip.File, limit int64) error {
	left := uint64(limit)
	for _, member := range members {
		if member.UncompressedSize64 > left {
			return refuse("The uncompressed content of the archive is larger than limit: %d bytes are allowed.", limit)
		}
		left -= member.UncompressedSize64
	}
	return nil
}

// checkMember returns a member's name, if that is one which stays below the
// root, and the member is a file or a directory.
func checkMember(member *zip.File) (string, error) {
	name := member.Name
	shown := name
	if len(shown) > 200 {
		shown = shown[:200] + "..."
	}
	if member.Flags&encrypted != 0 {
		return "", refuse("The member %q is encrypted; send an archive without a password.", shown)
	}
	isDir := strings.HasSuffix(name, "/")
	trimmed := strings.TrimSuffix(name, "/")
	switch {
	case name == "" || len(name) > maxName || !utf8.ValidString(name):
		return "", refuse("The archive has a member %q, whose name is empty, too long or not UTF-8.", shown)
	case strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':':
		return "", refuse("The archive has a member %q; names must be relative, with slashes between their parts.", shown)
	case slices.Contains(strings.Split(trimmed, "/"), "..") || strings.Contains(trimmed, "//"):
		return "", refuse("The archive has a member %q, which leads out of the archive.", shown)
	case strings.Count(trimmed, "/") >= maxDepth:
		return "", refuse("The archive has a member %q, which is more than %d directories deep.", shown, maxDepth)
	}
	if mode := member.Mode(); mode.Type() != 0 && !mode.IsDir() || mode.IsDir() != isDir {
		return "", refuse("The archive has a member %q that is neither a file nor a directory, such as a symbolic link.", shown)
	}
	if cleaned := path.Clean(trimmed); cleaned != "." || isDir {
		return cleaned, nil
	}
	return "", refuse("The archive has a member %q, which is no name of a file.", shown)
}

// place finds that no two members are at the same place.
func place(files Files, dirs map[string]bool, name string, isDir bool) error {
	if _, taken := files[name]; taken || dirs[name] && !isDir {
		return refuse("The archive has two members %q.", name)
	}
	if isDir {
		dirs[name] = true
	}
	for dir := path.Dir(name); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
		if _, taken := files[dir]; taken {
			return refuse("The archive has %q both as a file and as a directory.", dir)
		}
		dirs[dir] = true
	}
	return nil
}

// inflate reads a member, whatever it says of its size, up to what is left.
func inflate(member *zip.File, left int64) ([]byte, error) {
	if member.Method != zip.Store && member.Method != zip.Deflate {
		return nil, refuse("The member %q is compressed by a method that is not supported; use deflate.", member.Name)
	}
	reader, err := member.Open()
	if err != nil {
		return nil, refuse("The member %q is damaged: the archive is not a zip file that can be read.", member.Name)
	}
	defer reader.Close()
	content, err := io.ReadAll(io.LimitReader(reader, left+1))
	switch {
	case int64(len(content)) > left:
		return nil, refuse("The uncompressed content of the archive is larger than limit, and larger than it says.")
	case errors.Is(err, zip.ErrChecksum):
		return nil, refuse("The CRC check failed for the member %q.", member.Name)
	case err != nil:
		return nil, refuse("The member %q is damaged: the CRC check failed, or the archive is cut off.", member.Name)
	}
	return content, nil
}
