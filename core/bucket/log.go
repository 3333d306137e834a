package bucket

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// A log is a sequence of objects, its segments. Each has one writer, which
// replaces it by a longer version of itself until it is long enough, and then
// begins the next: so a log of a few lines is one object, and following it asks
// for the bytes after those that were read. A segment belongs to whoever made
// it, on condition that there was none with its number; and a version is
// written on condition that it replaces the one before, so that a call that was
// given up and arrives late changes nothing.

const (
	// flushAfter is how long something that was written may wait to be sent.
	flushAfter = 200 * time.Millisecond
	// segmentSize is the length after which a segment is not continued.
	segmentSize = 128 << 10
	// maxPending is what may wait to be sent. Who writes more waits, or, while the
	// bucket does not answer, loses it.
	maxPending = 1 << 20
	// retryAfter is the pause before a bucket that does not answer is tried again.
	retryAfter = time.Second
	// flushTime bounds how long sending what was written may take, and therefore how long
	// a bucket that hangs keeps a writer, or Close, waiting.
	flushTime = 3 * time.Second
	// writerKey names the metadata that tell whose a segment is.
	writerKey = "Writer"
)

// Logs returns the logs that are kept in the same bucket.
func (f *Files) Logs() core.Logs { return logs{f} }

type logs struct{ files *Files }

// Append opens a request's log for writing at its end. A bucket that does not
// answer is no error: a run that needs none goes on, and what it writes is
// kept for a while and sent when the bucket answers again.
func (l logs) Append(ctx context.Context, request int64) (io.WriteCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.files.unavailable("open the log", request, err)
	}
	a := &appender{
		segment: segment{files: l.files, request: request, writer: rand.Text()},
		// The log ends when it is closed: its last lines are about the end of ctx.
		ctx: context.WithoutCancel(ctx), room: l.files.maxLog,
		work: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{}),
	}
	a.space.L = &a.mu
	a.flush(nil)
	go a.run()
	return a, nil
}

// appender sends what is written to it, in the background.
type appender struct {
	ctx     context.Context
	segment segment // of run alone, once that runs
	// work tells that something is pending, end that nothing more comes; done is
	// closed when nothing more is sent.
	work, end, done chan struct{}

	mu      sync.Mutex
	space   sync.Cond // pending became shorter, or fault changed
	pending []byte
	room    core.LogRoom
	closed  bool
	// fault is why the last try to send failed.
	fault error
	// lost counts what was dropped since then.
	lost int
}

// Write takes p whole, so that lines of two writers do not mix.
func (a *appender) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) >= maxPending && a.fault == nil && !a.closed {
		a.space.Wait()
	}
	switch {
	case a.closed:
		return 0, sdk.Errorf(sdk.Internal, "write the log of request %d: it is closed", a.segment.request)
	case len(a.pending) >= maxPending:
		a.lost += len(p)
		return 0, a.fault
	case a.lost > 0:
		a.take(fmt.Appendf(nil, "%d bytes of this log were lost, because its bucket did not answer\n", a.lost))
		a.lost = 0
	}
	a.take(p)
	a.wake()
	return len(p), nil
}

func (a *appender) take(p []byte) { a.pending = append(a.pending, a.room.Take(p)...) }

// wake has run send what is pending, in a while.
func (a *appender) wake() {
	select {
	case a.work <- struct{}{}:
	default:
	}
}

// Close sends what is left. It tries once, for a few seconds at most.
func (a *appender) Close() error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.end)
		a.space.Broadcast()
	}
	a.mu.Unlock()
	<-a.done
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fault
}

// run sends what is pending until the log is closed.
func (a *appender) run() {
	defer close(a.done)
	for {
		select {
		case <-a.work:
		case <-a.end:
			a.send()
			return
		}
		select {
		case <-a.end:
			a.send()
			return
		case <-time.After(a.pause()):
		}
		a.send()
	}
}

// pause is how long what is pending may wait for more.
func (a *appender) pause() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.fault != nil:
		return retryAfter
	case len(a.pending) >= segmentSize:
		return 0
	}
	return flushAfter
}

// send stores what could not be stored before, and then what is pending.
func (a *appender) send() {
	if a.failed() && !a.flush(nil) {
		return
	}
	a.mu.Lock()
	pending := a.pending
	a.pending = nil
	a.space.Broadcast()
	a.mu.Unlock()
	if len(pending) > 0 {
		a.flush(pending)
	}
}

func (a *appender) failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fault != nil
}

// flush tries once to store p, and what could not be stored before.
func (a *appender) flush(p []byte) bool {
	ctx, cancel := context.WithTimeout(a.ctx, flushTime)
	defer cancel()
	begun := a.segment.number > 0
	err := a.segment.write(ctx, p)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !begun && a.segment.number > 0 {
		// Only now it is known how long the log was.
		a.room -= core.LogRoom(a.segment.before)
	}
	a.fault = nil
	if err != nil {
		a.fault = a.segment.files.unavailable("write the log", a.segment.request, err)
		a.wake() // it is tried again without anybody writing more
	}
	a.space.Broadcast()
	return err == nil
}

// segment is the object that the log grows by. Its number is 0 until the ones
// before are known.
type segment struct {
	files   *Files
	request int64
	writer  string

	number int
	before int64 // the length of the log when it was opened
	// content is what the object is to have, and sent how much of it the version
	// with this etag has. Without an etag there is no object yet.
	content []byte
	sent    int
	etag    string
}

// write adds p, and stores what is not stored. When it fails, what is left is
// stored by the next call.
func (s *segment) write(ctx context.Context, p []byte) error {
	if s.etag != "" && s.sent == len(s.content) && len(s.content) >= segmentSize {
		s.number++
		s.content, s.sent, s.etag = nil, 0, ""
	}
	s.content = append(s.content, p...)
	if s.number == 0 {
		last, size, err := s.files.lastSegment(ctx, s.request)
		if err != nil {
			return err
		}
		s.number, s.before = last+1, size
	}
	for s.etag == "" || s.sent < len(s.content) {
		if err := s.store(ctx); err != nil {
			return err
		}
	}
	return nil
}

// store tries once to store the content. It returns nil also if it only found
// out what is stored already, or by whom.
func (s *segment) store(ctx context.Context) error {
	o := minio.PutObjectOptions{ContentType: "text/plain; charset=utf-8", UserMetadata: map[string]string{writerKey: s.writer}}
	if s.etag == "" {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(s.etag)
	}
	key := s.files.segment(s.request, s.number)
	info, err := s.files.send(ctx, key, s.content, o, flushTime)
	switch {
	case err == nil:
		s.etag, s.sent = info.ETag, len(s.content)
		return nil
	case !refused(err) && !(notFound(err) && s.etag != ""):
		return err
	}
	stored, err := s.files.client.StatObject(ctx, s.files.bucket, key, minio.StatObjectOptions{})
	switch {
	case notFound(err):
		// Somebody has removed it: what is not sent begins a new one.
		s.content, s.sent, s.etag = s.content[s.sent:], 0, ""
		return nil
	case err != nil:
		return err
	case stored.UserMetadata[writerKey] != s.writer:
		s.number++
		s.content, s.sent, s.etag = s.content[s.sent:], 0, ""
		return nil
	}
	// An earlier call arrived, though nobody was told.
	s.etag, s.sent = stored.ETag, int(stored.Size)
	return nil
}

// segment returns the name of a segment. Names sort as the numbers do.
func (f *Files) segment(request int64, number int) string {
	return fmt.Sprintf("%s%08d", f.log(request), number)
}

// lastSegment returns the number of a log's last segment, or 0, and the length of
// all of them.
func (f *Files) lastSegment(ctx context.Context, request int64) (last int, size int64, err error) {
	// The library does not repeat a call whose answer was cut short.
	err = repeat(ctx, callTime, func(ctx context.Context) error {
		last, size, err = f.segments(ctx, request)
		return err
	})
	return last, size, err
}

func (f *Files) segments(ctx context.Context, request int64) (last int, size int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for object := range f.client.ListObjectsIter(ctx, f.bucket, minio.ListObjectsOptions{Prefix: f.log(request), Recursive: true}) {
		if object.Err != nil {
			return 0, 0, object.Err
		}
		number, err := strconv.Atoi(strings.TrimPrefix(object.Key, f.log(request)))
		if err != nil || f.segment(request, number) != object.Key {
			continue // it was put there by somebody else
		}
		last = max(last, number)
		size += object.Size
	}
	return last, size, ctx.Err()
}
