package layer

import (
	"fmt"
	"path/filepath"

	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Store makes layers and keeps their compressed members. It is safe for
// concurrent use, by several processes too, and its directory may be deleted at
// any time.
type Store struct {
	members *cas.Store
	workers int
}

// Options bound a store.
type Options struct {
	// Limit is how many bytes of compressed members to keep; zero means 2 GiB.
	Limit int64
	// Workers is how many members are compressed at once; zero means one for
	// each available core, but at most eight.
	Workers int
}

// Open returns the store in dir, and creates it if it is not there.
func Open(dir string, opts Options) (*Store, error) {
	if opts.Limit == 0 {
		opts.Limit = 2 << 30
	}
	// Members of another compressor have the same keys and other bytes: they
	// must never meet in one layer.
	members, err := cas.Open(filepath.Join(dir, compressor), cas.Options{Limit: opts.Limit})
	if err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	return &Store{members: members, workers: workers(opts.Workers)}, nil
}
