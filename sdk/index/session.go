package index

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// Session is one request's work on an index. It is used by one goroutine.
type Session struct {
	Job *sdk.Job
	// Client reaches registries with the request's credentials.
	Client *image.Client

	config *Config
	stores *stores
}

// Open begins the work of a job.
func (c *Config) Open(job *sdk.Job) (*Session, error) {
	stores, err := c.stores.in(job.CacheDir)
	if err != nil {
		return nil, err
	}
	client := stores.client.WithAccess((&accesses{ask: job.Access}).of)
	return &Session{Job: job, Client: client, config: c, stores: stores}, nil
}
