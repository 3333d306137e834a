package main

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// images reaches registries. All steps share one, so that an image that is
// pinned by one step and asked for its labels by the next is read once.
type images struct {
	once   sync.Once
	client *image.Client
}

// Start makes the client when the first step is opened.
func (i *images) Start(_ context.Context, host sdk.Host) error {
	i.once.Do(func() {
		_, cache := host.Dirs()
		i.client = image.New(image.Options{CacheDir: filepath.Join(cache, "images")})
	})
	return nil
}

// of returns a client with the credentials of the request that a bundle
// belongs to.
func (i *images) of(b *sdk.Bundle) *image.Client { return i.client.WithAccess(b.Access) }
