package main

import (
	"context"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// snapshot is the digest of every file below a directory, by path.
type snapshot map[string][sha256.Size]byte

// takeSnapshot reads the files of an unpacked bundle.
func takeSnapshot(dir string) (snapshot, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "open the unpacked bundle: %v", err)
	}
	defer root.Close()
	s := make(snapshot)
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return sdk.Errorf(sdk.Invalid, "%s of the bundle is neither a file nor a directory", path)
		}
		s[path], err = digestOf(root, path)
		return err
	})
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeOf(err), "read the unpacked bundle: %w", err)
	}
	return s, nil
}

func digestOf(root *os.Root, path string) (sum [sha256.Size]byte, err error) {
	f, err := root.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// changedSince returns the files that are new or different, sorted. Files that
// are gone stay in the image: its layers are kept as they are.
func (s snapshot) changedSince(before snapshot) []string {
	var changed []string
	for path, sum := range s {
		if was, ok := before[path]; !ok || was != sum {
			changed = append(changed, path)
		}
	}
	slices.Sort(changed)
	return changed
}

// writeLayer makes one layer of the changed files, for all architectures.
// Nothing changed makes no layer.
func writeLayer(ctx context.Context, job *sdk.Job, dir string, changed []string) ([]sdk.Layer, error) {
	if len(changed) == 0 {
		return nil, nil
	}
	store, err := layer.Open(filepath.Join(job.CacheDir, "layers"), layer.Options{Limit: 64 << 20})
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "open the unpacked bundle: %v", err)
	}
	defer root.Close()
	entries := func(yield func(layer.Entry, error) bool) {
		for _, path := range changed {
			entry, err := fileEntry(root, path)
			if !yield(entry, err) {
				return
			}
		}
	}
	l, err := store.Write(ctx, filepath.Join(job.Workspace, "bundle.tar.gz"), "regenerate bundle", entries)
	if err != nil {
		return nil, err
	}
	return []sdk.Layer{l}, nil
}

// fileEntry is a file as it goes into the image: readable for all, owned by
// root.
func fileEntry(root *os.Root, path string) (layer.Entry, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return layer.Entry{}, err
	}
	return layer.Entry{
		Name: path, Mode: info.Mode().Perm() | 0o444,
		Content: []layer.Part{{
			Size: info.Size(),
			Open: func() (io.ReadCloser, error) { return root.Open(path) },
		}},
	}, nil
}
