package layer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Write makes a layer of entries in the file at path, which appears there
// whole or not at all. Entries are archived in the order given, which is part
// of what the digest depends on: a directory before what is in it, and a fixed
// order among siblings. Names must differ. An error among the entries ends the
// layer with that error.
//
// The layer needs a few MiB of memory, whatever its size.
func (s *Store) Write(ctx context.Context, path, createdBy string, entries iter.Seq2[Entry, error]) (sdk.Layer, error) {
	out, err := os.CreateTemp(filepath.Dir(path), ".layer-*")
	if err != nil {
		return sdk.Layer{}, fmt.Errorf("write layer: %w", err)
	}
	l, err := s.write(ctx, out, entries)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(out.Name(), path)
	}
	if err != nil {
		_ = os.Remove(out.Name())
		return sdk.Layer{}, err
	}
	l.Path, l.CreatedBy = path, createdBy
	return l, nil
}

// write runs three stages: one goroutine cuts the archive into pieces, several
// compress them, and this one hashes and writes them in order.
func (s *Store) write(ctx context.Context, out io.Writer, entries iter.Seq2[Entry, error]) (sdk.Layer, error) {
	var (
		group, gctx = errgroup.WithContext(ctx)
		inOrder     = make(chan *piece, s.workers+2)
		toPress     = make(chan *piece, s.workers+2)
		free        = newPool(2*s.workers + 4)
	)
	group.Go(func() error {
		defer close(inOrder)
		defer close(toPress)
		c := &cutter{ctx: gctx, inOrder: inOrder, toPress: toPress, free: free, names: make(map[string]struct{})}
		return c.cut(entries)
	})
	for range s.workers {
		group.Go(func() error {
			worker := press{members: s.members}
			for p := range toPress {
				worker.run(p)
			}
			return nil
		})
	}
	var l sdk.Layer
	group.Go(func() error {
		var err error
		l, err = join(gctx, out, inOrder, free)
		return err
	})
	if err := group.Wait(); err != nil {
		return sdk.Layer{}, err
	}
	return l, nil
}

// join writes the members of pieces in their order.
func join(ctx context.Context, out io.Writer, pieces <-chan *piece, free *pool) (sdk.Layer, error) {
	var (
		diffID = sha256.New()
		digest = sha256.New()
		size   int64
		w      = bufio.NewWriterSize(io.MultiWriter(out, digest), 64<<10)
	)
	for p := range pieces {
		diffID.Write(p.data)
		select {
		case <-p.done:
		case <-ctx.Done():
			return sdk.Layer{}, context.Cause(ctx)
		}
		if p.err != nil {
			return sdk.Layer{}, p.err
		}
		n, err := w.Write(p.member)
		if err != nil {
			return sdk.Layer{}, fmt.Errorf("write layer: %w", err)
		}
		size += int64(n)
		free.put(p)
	}
	if err := w.Flush(); err != nil {
		return sdk.Layer{}, fmt.Errorf("write layer: %w", err)
	}
	return sdk.Layer{Digest: format(digest), DiffID: format(diffID), Size: size}, nil
}

func format(h hash.Hash) string { return cas.Key(h.Sum(nil)).String() }

// cutter turns entries into pieces.
type cutter struct {
	ctx              context.Context
	inOrder, toPress chan<- *piece
	free             *pool
	names            map[string]struct{}
	// loose collects headers, small files and padding.
	loose *piece
}

func (c *cutter) cut(entries iter.Seq2[Entry, error]) error {
	for e, err := range entries {
		if err != nil {
			return err
		}
		if err := c.entry(&e); err != nil {
			return err
		}
	}
	if err := c.add(trailer[:]); err != nil {
		return err
	}
	return c.flush()
}

func (c *cutter) entry(e *Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	if _, twice := c.names[e.Name]; twice {
		return sdk.Errorf(sdk.Internal, "layer entry %s: given twice", e.Name)
	}
	c.names[e.Name] = struct{}{}
	header, err := e.header()
	if err != nil {
		return err
	}
	if err := c.add(header); err != nil {
		return err
	}
	for i := range e.Content {
		if err := c.part(e.Name, &e.Content[i]); err != nil {
			return err
		}
	}
	return c.add(trailer[:padding(e.size())])
}

// part cuts a part from its own start, so that its members do not depend on
// what is before it.
func (c *cutter) part(name string, p *Part) error {
	if p.Size == 0 {
		return nil
	}
	var want cas.Key
	if p.Digest != "" {
		var err error
		if want, err = cas.Parse(p.Digest); err != nil {
			return fmt.Errorf("layer entry %s: %w", name, err)
		}
	}
	r, err := p.Open()
	if err != nil {
		return fmt.Errorf("layer entry %s: %w", name, err)
	}
	defer r.Close()
	if p.Size < looseSize {
		err = c.small(name, p.Size, want, r)
	} else {
		err = c.large(name, p.Size, want, r)
	}
	if err != nil {
		return err
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return sdk.Errorf(sdk.Internal, "layer entry %s: content is longer than the announced %d bytes", name, p.Size)
	} else if err != nil && !errors.Is(err, io.EOF) {
		// The end is where a verifying reader tells that it read nonsense.
		return fmt.Errorf("layer entry %s: %w", name, err)
	}
	return nil
}

func (c *cutter) small(name string, size int64, want cas.Key, r io.Reader) error {
	if err := c.room(int(size)); err != nil {
		return err
	}
	start := len(c.loose.data)
	c.loose.data = c.loose.data[:start+int(size)]
	content := c.loose.data[start:]
	if _, err := io.ReadFull(r, content); err != nil {
		return short(name, err)
	}
	if want.IsZero() {
		return nil
	}
	if sum := cas.Sum(content); sum != want {
		return mismatch(name, want, sum)
	}
	return nil
}

func (c *cutter) large(name string, size int64, want cas.Key, r io.Reader) error {
	if err := c.flush(); err != nil {
		return err
	}
	// A part of one chunk is checked by the worker, which hashes it anyway.
	whole := sha256.New()
	for rest := size; rest > 0; {
		p, err := c.free.get(c.ctx)
		if err != nil {
			return err
		}
		n := min(rest, chunkSize)
		p.data, p.keep, p.name = p.data[:n], true, name
		if _, err := io.ReadFull(r, p.data); err != nil {
			return short(name, err)
		}
		if size <= chunkSize {
			p.want = want
		} else if !want.IsZero() {
			whole.Write(p.data)
		}
		if err := c.send(p); err != nil {
			return err
		}
		rest -= n
	}
	if size > chunkSize && !want.IsZero() {
		if sum := cas.Key(whole.Sum(nil)); sum != want {
			return mismatch(name, want, sum)
		}
	}
	return nil
}

// add appends bytes to the loose piece.
func (c *cutter) add(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if err := c.room(len(data)); err != nil {
		return err
	}
	c.loose.data = append(c.loose.data, data...)
	return nil
}

// room makes sure that n more bytes fit into the loose piece. A name so long
// that its header does not fit an empty piece just makes the piece longer.
func (c *cutter) room(n int) error {
	if c.loose != nil && len(c.loose.data)+n > cap(c.loose.data) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.loose == nil {
		p, err := c.free.get(c.ctx)
		if err != nil {
			return err
		}
		c.loose = p
	}
	return nil
}

func (c *cutter) flush() error {
	p := c.loose
	if p == nil || len(p.data) == 0 {
		return nil
	}
	c.loose = nil
	return c.send(p)
}

func (c *cutter) send(p *piece) error {
	for _, to := range []chan<- *piece{c.inOrder, c.toPress} {
		select {
		case to <- p:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	return nil
}

// pool bounds the pieces, and so the memory, of one Write.
type pool struct {
	idle chan *piece
	left chan struct{}
}

func newPool(n int) *pool {
	p := &pool{idle: make(chan *piece, n), left: make(chan struct{}, n)}
	for range n {
		p.left <- struct{}{}
	}
	return p
}

func (f *pool) get(ctx context.Context) (*piece, error) {
	var p *piece
	select {
	case p = <-f.idle:
	default:
		select {
		case p = <-f.idle:
		case <-f.left:
			p = &piece{data: make([]byte, 0, chunkSize)}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	*p = piece{data: p.data[:0], member: p.member[:0], done: make(chan struct{})}
	return p, nil
}

func (f *pool) put(p *piece) { f.idle <- p }

func mismatch(name string, want, got cas.Key) error {
	return sdk.Errorf(sdk.Unavailable, "layer entry %s: content is %s, not %s", name, got, want)
}

func short(name string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return sdk.Errorf(sdk.Internal, "layer entry %s: content is shorter than announced", name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, cas.ErrDamaged) {
		return sdk.Errorf(sdk.Unavailable, "layer entry %s: %w", name, err)
	}
	return fmt.Errorf("layer entry %s: %w", name, err)
}
