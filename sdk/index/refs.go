package index

import (
	"sync"

	"github.com/iib-engine/iib/sdk/catalog"
)

// keptPackages bounds the packages whose bundles are kept in memory: about
// 2 kB each.
const keptPackages = 8192

// refs keeps the bundles of packages by the digest of their text. Two indexes
// that are merged have most packages in common, and the next merge has them
// too. It is safe for concurrent use; what it returns is not to be changed.
type refs struct {
	mu    sync.Mutex
	known map[string][]catalog.BundleRef
}

func (r *refs) of(digest string) ([]catalog.BundleRef, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list, ok := r.known[digest]
	return list, ok
}

func (r *refs) keep(digest string, list []catalog.BundleRef) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= keptPackages || r.known == nil {
		r.known = make(map[string][]catalog.BundleRef)
	}
	r.known[digest] = list
}
