package image

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/iib-engine/iib/sdk"
)

// downloads are the blobs on their way. Each comes over the network once,
// into a file that all who want it read while it grows.
type downloads struct {
	mu      sync.Mutex
	running map[contentKey]*download
}

type download struct {
	file   *os.File
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	readers int
	written int64
	// ended tells that nothing more comes; err is why, nil after a blob that
	// is whole and verified.
	ended bool
	err   error
	// changed is closed, and replaced, when any of the above moves.
	changed chan struct{}
}

// follow returns a reader of a blob that is being downloaded, starting the
// download if nobody has. The download is given up when its last reader is
// closed.
func (c *Client) follow(ctx context.Context, ref Ref, access sdk.Access, digest sdk.Digest, size int64) (io.ReadCloser, error) {
	key := contentKey{keyOf(access), ref.Name(), digest}
	c.downloads.mu.Lock()
	defer c.downloads.mu.Unlock()
	if d, ok := c.downloads.running[key]; ok {
		d.readers++
		return &follower{ctx: ctx, d: d, leave: func() { c.leave(key, d) }}, nil
	}
	file, err := c.cache.create()
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "keep blob: %v", err)
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &download{file: file, cancel: cancel, readers: 1, done: make(chan struct{}), changed: make(chan struct{})}
	if c.downloads.running == nil {
		c.downloads.running = make(map[contentKey]*download)
	}
	c.downloads.running[key] = d
	go func() {
		err := c.fetch(runCtx, ref, access, digest, size, d)
		if err == nil {
			c.cache.keep(blobs, digest, file, d.written)
			c.seen.put(key, struct{}{}, 1)
		} else {
			_ = os.Remove(file.Name())
		}
		// From here on others find the cache, or start over.
		c.forget(key, d)
		d.end(err)
	}()
	return &follower{ctx: ctx, d: d, leave: func() { c.leave(key, d) }}, nil
}

func (c *Client) forget(key contentKey, d *download) {
	c.downloads.mu.Lock()
	defer c.downloads.mu.Unlock()
	if c.downloads.running[key] == d {
		delete(c.downloads.running, key)
	}
}

// leave is called once per reader. The file outlives the last reader or the
// writer, whichever takes longer.
func (c *Client) leave(key contentKey, d *download) {
	c.downloads.mu.Lock()
	d.readers--
	last := d.readers == 0
	if last && c.downloads.running[key] == d {
		delete(c.downloads.running, key)
	}
	c.downloads.mu.Unlock()
	if !last {
		return
	}
	d.cancel()
	<-d.done
	d.file.Close()
}

// Write is called by the one goroutine that fetches.
func (d *download) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.mu.Lock()
	d.written += int64(n)
	d.broadcast()
	d.mu.Unlock()
	return n, err
}

func (d *download) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.err = true, err
	d.broadcast()
	close(d.done)
}

func (d *download) broadcast() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// state returns how far the download is, and what to wait for when that is not
// far enough.
func (d *download) state() (written int64, ended bool, err error, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written, d.ended, d.err, d.changed
}

// follower reads the file of a download up to where it has grown.
type follower struct {
	ctx    context.Context
	d      *download
	offset int64
	leave  func()
	closed sync.Once
}

func (f *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		written, ended, err, changed := f.d.state()
		switch {
		case f.offset < written:
			n, err := f.d.file.ReadAt(p[:min(int64(len(p)), written-f.offset)], f.offset)
			f.offset += int64(n)
			if n > 0 {
				return n, nil
			}
			return 0, sdk.Errorf(sdk.Internal, "read back blob: %v", err)
		case ended && err != nil:
			return 0, err
		case ended:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-f.ctx.Done():
			return 0, context.Cause(f.ctx)
		}
	}
}

func (f *follower) Close() error {
	f.closed.Do(f.leave)
	return nil
}
