package main

import (
	"path/filepath"
	"sync"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// registries shares connections and what was read between all jobs.
type registries struct {
	once   sync.Once
	client *image.Client
}

// of returns a client with the credentials of a job.
func (r *registries) of(job *sdk.Job) *image.Client {
	r.once.Do(func() { r.client = image.New(image.Options{CacheDir: filepath.Join(job.CacheDir, "images")}) })
	return r.client.WithAccess(job.Access)
}
