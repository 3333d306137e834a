package bundle

import (
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

const (
	// manifestsDir and metadataDir are where a bundle image has them.
	manifestsDir = "manifests"
	metadataDir  = "metadata"

	// maxFile bounds one file. The largest manifest of some thousand published
	// ones has 2.5 MB, and a cluster stores no object larger than 1.5 MB.
	maxFile = 4 << 20
	// maxManifests and maxEntries bound all manifests of a bundle.
	maxManifests = 64 << 20
	maxEntries   = 10_000
)

// manifests calls visit with the path and the content of every file below the
// manifests directory that is named like YAML, in lexical order.
func (b *Bundle) manifests(visit func(path string, data []byte) error) error {
	if err := b.checkDir(manifestsDir); err != nil {
		return err
	}
	entries, total := 0, 0
	return fs.WalkDir(b.root.FS(), manifestsDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return sdk.Errorf(sdk.Internal, "read %s: %w", name, err)
		}
		if entries++; entries > maxEntries {
			return sdk.Errorf(sdk.Invalid, "%s: more than %d files", manifestsDir, maxEntries)
		}
		if ext := path.Ext(name); entry.IsDir() || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		data, err := b.read(name)
		if err != nil {
			return err
		}
		if total += len(data); total > maxManifests {
			return sdk.Errorf(sdk.Invalid, "%s: more than %d MiB in all", manifestsDir, maxManifests>>20)
		}
		return visit(name, data)
	})
}

// checkDir refuses a bundle whose directory of that name is missing or a link.
func (b *Bundle) checkDir(name string) error {
	info, err := b.root.Lstat(name)
	switch {
	case isMissing(err):
		return sdk.Errorf(sdk.Invalid, "the bundle has no directory /%s", name)
	case err != nil:
		return sdk.Errorf(sdk.Internal, "read %s: %w", name, err)
	case !info.IsDir():
		return sdk.Errorf(sdk.Invalid, "/%s of the bundle is not a directory", name)
	}
	return nil
}

// read returns the content of a regular file of bounded size. A missing file
// is an error that isMissing recognizes.
func (b *Bundle) read(name string) ([]byte, error) {
	info, err := b.root.Lstat(name)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, sdk.Errorf(sdk.Invalid, "%s: not a regular file; links are not followed", name)
	}
	f, err := b.root.Open(name)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "read %s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, sdk.Errorf(sdk.Invalid, "%s: larger than %d MiB", name, maxFile>>20)
	}
	return data, nil
}

// write replaces a file. The old one is not written to: it may be a second
// name of a file in a cache.
func (b *Bundle) write(name string, data []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := b.root.Lstat(name); err == nil {
		mode = info.Mode().Perm()
	}
	temporary := path.Join(path.Dir(name), "."+strings.TrimPrefix(path.Base(name), ".")+".new")
	if err := b.root.WriteFile(temporary, data, mode); err != nil {
		return sdk.Errorf(sdk.Internal, "write %s: %w", name, err)
	}
	if err := b.root.Chmod(temporary, mode); err != nil {
		return sdk.Errorf(sdk.Internal, "write %s: %w", name, err)
	}
	if err := b.root.Rename(temporary, name); err != nil {
		return sdk.Errorf(sdk.Internal, "write %s: %w", name, err)
	}
	return nil
}
