package servecache

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"path"
	"strings"

	"github.com/operator-framework/operator-registry/pkg/api"
)

// jsonEncoding is what opm puts into the files of its JSON cache. A key is a
// path below the cache's directory.
type jsonEncoding struct{}

const (
	jsonPackages = "packages.json"
	jsonMetas    = "metas"
)

func (jsonEncoding) bundleKey(pkg, channel, name string) (string, error) {
	key := pkg + "_" + channel + "_" + name + ".json"
	switch {
	case strings.ContainsAny(key, "/\x00"):
		return "", errors.New("a name with a slash or a zero byte cannot be a file of a JSON cache")
	case len(key) > 255:
		return "", fmt.Errorf("the names together are too long for a file of a JSON cache: %d bytes", len(key))
	}
	return key, nil
}

func (jsonEncoding) bundle(b *api.Bundle) ([]byte, error) { return json.Marshal(b) }

// customs are a file for each meta, named after its hash; equal ones are one.
func (jsonEncoding) customs(schema, pkg string, blobs [][]byte) ([]record, error) {
	var records []record
	seen := make(map[uint64]bool)
	for _, blob := range blobs {
		h := fnv.New64a()
		h.Write(blob)
		if sum := h.Sum64(); !seen[sum] {
			seen[sum] = true
			records = append(records, record{key: path.Join(jsonMetas, schema, pkg, fmt.Sprintf("%x.json", sum)), value: blob})
		}
	}
	return records, nil
}

func (jsonEncoding) frame(dst []byte, r record) []byte { return append(dst, r.value...) }
