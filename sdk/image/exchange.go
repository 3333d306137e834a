package image

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// call is one request to a registry.
type call struct {
	method string
	// path is below the registry, or an absolute address that it gave.
	path   string
	header http.Header
	// body is opened anew each time that the request is sent; length is its size.
	body   func() (io.ReadCloser, error)
	length int64
	// want are the statuses of success.
	want []int
	// still takes a redirect for the answer.
	still bool
	// patient waits longer for the answer: a registry that has received a large
	// blob hashes it, and may move it to its storage, before it says a word.
	patient bool
}

// patience is how many times longer a patient call waits.
const patience = 5

// do sends a call and returns its answer, whose body the caller closes, or an
// error for judge.
func (c *Client) do(ctx context.Context, s *session, call call) (*http.Response, error) {
	limit := c.timeout
	if call.patient {
		limit *= patience
	}
	ctx, dog := watch(ctx, limit)
	resp, err := c.send(ctx, s, call, dog)
	if err != nil {
		defer dog.stop()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, dog: dog, ctx: ctx, stopAtClose: true}
	if !slices.Contains(call.want, resp.StatusCode) {
		defer resp.Body.Close()
		return nil, newStatusError(resp, s.anonymous)
	}
	return resp, nil
}

func (c *Client) send(ctx context.Context, s *session, call call, dog *watchdog) (*http.Response, error) {
	address := call.path
	if len(address) > 0 && address[0] == '/' {
		address = s.base + address
	}
	req, err := http.NewRequestWithContext(ctx, call.method, address, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range call.header {
		req.Header[k] = v
	}
	if call.body != nil {
		req.ContentLength = call.length
		req.GetBody = func() (io.ReadCloser, error) {
			if call.length == 0 {
				// Anything else net/http takes for a body of unknown length.
				return http.NoBody, nil
			}
			return &watchedBody{ReadCloser: &lateBody{open: call.body}, dog: dog, ctx: ctx}, nil
		}
		req.Body, _ = req.GetBody()
	}
	client := s.client
	if call.still {
		client = s.still
	}
	return client.Do(req)
}

// watchdog ends a request when nothing worth mentioning has moved for a while,
// however long the request takes as a whole.
type watchdog struct {
	timer *time.Timer
	// moved are the bytes since the timer was set.
	moved  atomic.Int64
	limit  time.Duration
	cancel context.CancelCauseFunc
}

func watch(ctx context.Context, limit time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{
		timer:  time.AfterFunc(limit, func() { cancel(errStalled) }),
		limit:  limit,
		cancel: cancel,
	}
}

// leastProgress is what must move for the timer to be set again. A registry that
// sends a byte now and then would hold a request for ever; at the default limit
// this is less than a modem's speed.
const leastProgress = 64 << 10

// kick tells of bytes that have moved.
func (d *watchdog) kick(n int) {
	if d.moved.Add(int64(n)) >= leastProgress {
		d.moved.Store(0)
		d.timer.Reset(d.limit)
	}
}

func (d *watchdog) stop() {
	d.timer.Stop()
	d.cancel(context.Canceled)
}

// watchedBody is a body, of either direction, whose progress counts.
type watchedBody struct {
	io.ReadCloser
	dog         *watchdog
	ctx         context.Context
	stopAtClose bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.dog.kick(n)
	}
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.stopAtClose {
		b.dog.stop()
	}
	return err
}

// lateBody is opened by its first read, so that a request whose body is
// replaced unread, as guard does, costs nothing.
type lateBody struct {
	open func() (io.ReadCloser, error)

	// mu is there because net/http closes bodies that it is still reading.
	mu   sync.Mutex
	body io.ReadCloser
	err  error
}

func (b *lateBody) Read(p []byte) (int, error) {
	body, err := b.opened()
	if err != nil {
		return 0, err
	}
	return body.Read(p)
}

func (b *lateBody) opened() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body == nil && b.err == nil {
		b.body, b.err = b.open()
	}
	return b.body, b.err
}

func (b *lateBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

// readBounded reads a document of at most limit bytes.
func readBounded(r io.Reader, limit int64) (data []byte, fits bool, err error) {
	data, err = io.ReadAll(io.LimitReader(r, limit+1))
	return data, int64(len(data)) <= limit, err
}
