package index

import (
	"context"
	"sync"

	"github.com/iib-engine/iib/sdk"
)

// accesses asks the engine once in a request how each repository is reached: a
// merge inspects thousands of images. It is safe for concurrent use.
type accesses struct {
	ask func(ctx context.Context, image string) (sdk.Access, error)

	mu    sync.Mutex
	known map[string]sdk.Access
}

func (a *accesses) of(ctx context.Context, image string) (sdk.Access, error) {
	key := repository(image)
	a.mu.Lock()
	access, ok := a.known[key]
	a.mu.Unlock()
	if ok {
		return access, nil
	}
	access, err := a.ask(ctx, image)
	if err != nil {
		return sdk.Access{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = make(map[string]sdk.Access)
	}
	a.known[key] = access
	return access, nil
}
