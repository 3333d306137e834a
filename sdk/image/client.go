package image

import (
	"cmp"
	"context"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// AccessFunc tells how to reach the registry of one pull spec and with which
// credentials. It is called once or more per operation and must be safe for
// concurrent use.
type AccessFunc func(ctx context.Context, spec string) (sdk.Access, error)

// Options configure a Client. The zero value works: anonymous, nothing cached.
type Options struct {
	// Access is asked for every image. Nil means anonymous access over HTTPS.
	Access AccessFunc
	// CacheDir is a directory of the cache's own; it is created when missing,
	// may be shared by clients and processes, and may be emptied at any time.
	// Empty means that nothing is kept.
	CacheDir string
	// CacheSize is the number of bytes that the cache may take up, roughly; the
	// least recently used content goes first. 0 means 10 GiB.
	CacheSize int64
	// Attempts is how often a step that fails for a passing reason is tried in
	// all. 0 means 5.
	Attempts int
	// Backoff is the wait after the first failed attempt; it doubles with each,
	// up to MaxBackoff. 0 means half a second, and 20 seconds for MaxBackoff.
	Backoff    time.Duration
	MaxBackoff time.Duration
	// Timeout is how long a registry may stay silent, before it answers and
	// between two pieces of an answer; five times as long after an upload. 0
	// means one minute.
	Timeout time.Duration
	// Parallel is how many blobs one operation transfers at once. 0 means 4.
	Parallel int
	// Limits bound what is accepted from a registry.
	Limits Limits
}

// Limits bound what is accepted from a registry. A field that is 0 has the
// default named at it.
type Limits struct {
	// Manifest and Config are the sizes of the two kinds of document: 4 MiB, 8 MiB.
	Manifest int64
	Config   int64
	// Blob is the size of one blob as it is transferred: 8 GiB.
	Blob int64
	// Entries is the number of files in all layers of an image: 500,000.
	Entries int
	// File is the unpacked size of one file that is read: 4 GiB.
	File int64
	// Total is the unpacked size of all layers of an image: 32 GiB.
	Total int64
	// Ratio is how many times larger than its blob a layer may unpack to, once
	// it has passed 16 MiB: 200.
	Ratio int64
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Manifest: cmp.Or(l.Manifest, 4<<20),
		Config:   cmp.Or(l.Config, 8<<20),
		Blob:     cmp.Or(l.Blob, 8<<30),
		Entries:  cmp.Or(l.Entries, 500_000),
		File:     cmp.Or(l.File, 4<<30),
		Total:    cmp.Or(l.Total, 32<<30),
		Ratio:    cmp.Or(l.Ratio, 200),
	}
}

// Client talks to registries. It is safe for concurrent use.
//
// Make one Client per process and derive others from it with WithAccess and
// WithLimits: they share connections, transfers in progress and the cache.
type Client struct {
	*shared
	access AccessFunc
	limits Limits
}

// shared is what all clients derived from one have in common.
type shared struct {
	attempts   int
	backoff    time.Duration
	maxBackoff time.Duration
	timeout    time.Duration
	parallel   int

	cache     *cache
	network   network
	sessions  sessions
	downloads downloads
	uploads   flights[contentKey, int64]
	// seen remembers which credentials a registry has shown which content, so
	// that the cache gives nobody what their registry would refuse.
	seen *lru[contentKey, struct{}]
	// contents are the tables of contents of the layers read last, weighed by
	// their entries, each of which takes some 200 bytes.
	contents *lru[sdk.Digest, *contents]
}

// New returns a Client. It touches neither the network nor the disk.
func New(o Options) *Client {
	if o.Access == nil {
		o.Access = func(context.Context, string) (sdk.Access, error) { return sdk.Access{}, nil }
	}
	return &Client{
		shared: &shared{
			attempts:   max(cmp.Or(o.Attempts, 5), 1),
			backoff:    cmp.Or(o.Backoff, 500*time.Millisecond),
			maxBackoff: cmp.Or(o.MaxBackoff, 20*time.Second),
			timeout:    cmp.Or(o.Timeout, time.Minute),
			parallel:   max(cmp.Or(o.Parallel, 4), 1),
			cache:      newCache(o.CacheDir, cmp.Or(o.CacheSize, 10<<30)),
			sessions:   sessions{open: newLRU[sessionKey, *session](256)},
			seen:       newLRU[contentKey, struct{}](50_000),
			contents:   newLRU[sdk.Digest, *contents](200_000),
		},
		access: o.Access,
		limits: o.Limits.withDefaults(),
	}
}

// WithAccess returns a client that asks access instead, for a request with
// credentials of its own.
func (c *Client) WithAccess(access AccessFunc) *Client {
	return &Client{shared: c.shared, access: access, limits: c.limits}
}

// WithLimits returns a client with other limits; fields that are 0 have their
// defaults.
func (c *Client) WithLimits(limits Limits) *Client {
	return &Client{shared: c.shared, access: c.access, limits: limits.withDefaults()}
}

// Close drops idle connections, also those of clients derived from this one,
// all of which stay usable.
func (c *Client) Close() { c.network.closeIdle() }
