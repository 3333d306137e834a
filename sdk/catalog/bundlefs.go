package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/iib-engine/iib/sdk"
)

// A bundle's manifests end up in an etcd object of at most about 1 MB, so
// these bounds are far beyond anything that could be installed.
const (
	maxBundleFiles = 1000
	maxBundleFile  = 16 << 20
	maxBundleBytes = 64 << 20
)

// document is one file of a bundle, read whole.
type document struct {
	name string
	data []byte
}

// readBundleDir reads the regular files that stand directly in one directory
// of an unpacked bundle, in the order of their names. Hidden files and
// subdirectories are not part of a bundle.
func readBundleDir(fsys fs.FS, dir string, budget *int64) ([]document, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.Invalid, "the directory %s is missing", dir)
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "read the directory %s: %v", dir, pathless(err))
	}
	if len(entries) > maxBundleFiles {
		return nil, sdk.Errorf(sdk.Invalid, "the directory %s has %d files; at most %d are accepted", dir, len(entries), maxBundleFiles)
	}
	var docs []document
	for _, entry := range entries {
		name := dir + "/" + entry.Name()
		if strings.HasPrefix(entry.Name(), ".") && dir == manifestsDir {
			continue
		}
		// Stat follows links; the file system keeps them inside the bundle.
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "the file %s is a link that leads nowhere inside the bundle", name)
		}
		if info.IsDir() {
			continue
		}
		if !info.Mode().IsRegular() {
			return nil, sdk.Errorf(sdk.Invalid, "%s is not a regular file", name)
		}
		data, err := readBounded(fsys, name, budget)
		if err != nil {
			return nil, err
		}
		docs = append(docs, document{name, data})
	}
	return docs, nil
}

func readBounded(fsys fs.FS, name string, budget *int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, pathless(err))
	}
	defer f.Close()
	limit := min(*budget, maxBundleFile)
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, pathless(err))
	}
	if int64(len(data)) > limit {
		if limit == maxBundleFile {
			return nil, sdk.Errorf(sdk.Invalid, "the file %s is larger than %d MiB", name, maxBundleFile>>20)
		}
		return nil, sdk.Errorf(sdk.Invalid, "the manifests and metadata are larger than %d MiB together", maxBundleBytes>>20)
	}
	*budget -= int64(len(data))
	return data, nil
}

// pathless drops the path from a file error: it names a directory of this
// machine, which means nothing to the reader of the message.
func pathless(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// decode reads the first YAML or JSON document of a file into v, as
// operator-registry does; further documents are ignored.
func (d document) decode(v any) error {
	return yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(d.data)), 30).Decode(v)
}
