package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"unicode"

	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// scan tells what is where in a catalog file. It is stored: fields are
// exported for encoding/gob.
type scan struct {
	Items []item
	// Sums are digests of the metas of each package in the file.
	Sums map[string]cas.Key
}

// item is one meta. Start is where it begins if one cuts the file between
// metas: a separator before it, or Off.
type item struct {
	Schema, Package, Name string
	Start, Off, Len       int64
	YAML                  bool
}

// owner is the package that a meta belongs to; empty for none.
func (i *item) owner() string {
	if i.Schema == declcfg.SchemaPackage {
		return i.Name
	}
	return i.Package
}

// yaml reports whether any meta is YAML.
func (s *scan) yaml() bool {
	// In a file with both, JSON comes first.
	return len(s.Items) > 0 && s.Items[len(s.Items)-1].YAML
}

// exclusive reports whether the file holds metas of one package only.
func (s *scan) exclusive() bool { return len(s.Sums) <= 1 }

// scanner collects the metas of one file.
type scanner struct {
	ctx    context.Context
	limits Limits
	scan   scan
	sums   map[string]hash.Hash
}

// fault is a mistake at an offset of a file.
type fault struct {
	off  int64
	text string
}

func (f *fault) Error() string { return f.text }

// sniffLength is how far opm looks for a brace to tell JSON from YAML.
const sniffLength = 4096

// scanFile finds the metas in a file. open may be called twice; name is for
// errors, which are Invalid when the content is at fault.
func scanFile(ctx context.Context, limits Limits, name string, open func() (io.ReadCloser, error)) (*scan, error) {
	found, err := scanOnce(ctx, limits, open)
	if wrong := (*fault)(nil); errors.As(err, &wrong) {
		line, column := position(open, wrong.off)
		return nil, invalid("file %s:%d:%d: %s", name, line, column, wrong.text)
	}
	if err != nil {
		return nil, unavailable(fmt.Errorf("catalog file %s: %w", name, err))
	}
	return found, nil
}

// unavailable marks the loss of cached content, which another try makes again.
func unavailable(err error) error {
	if errors.Is(err, cas.ErrDamaged) || errors.Is(err, errLost) {
		return sdk.Errorf(sdk.Unavailable, "%w", err)
	}
	return err
}

func scanOnce(ctx context.Context, limits Limits, open func() (io.ReadCloser, error)) (*scan, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s := &scanner{ctx: ctx, limits: limits, sums: make(map[string]hash.Hash)}
	in := &input{r: r}
	if err := in.fill(sniffLength); err != nil {
		return nil, err
	}
	head := bytes.TrimLeftFunc(in.window()[:min(len(in.window()), sniffLength)], unicode.IsSpace)
	if bytes.HasPrefix(head, []byte("{")) {
		err = s.json(in)
		// What begins like JSON may be YAML all the same. opm tries that where
		// it fails, unless it has read a second object.
		if wrong := (*fault)(nil); errors.As(err, &wrong) && len(s.scan.Items) <= 1 {
			if s.skipLine(in) && s.yaml(in) == nil {
				err = nil
			}
		}
	} else {
		err = s.yaml(in)
	}
	if err != nil {
		return nil, err
	}
	s.scan.Sums = make(map[string]cas.Key, len(s.sums))
	for name, sum := range s.sums {
		s.scan.Sums[name] = cas.Key(sum.Sum(nil))
	}
	return &s.scan, nil
}

// add records a meta whose text is raw.
func (s *scanner) add(i item, raw []byte) error {
	if i.Schema == "" {
		return &fault{i.Off, `this meta has no "schema"`}
	}
	s.scan.Items = append(s.scan.Items, i)
	owner := i.owner()
	sum, ok := s.sums[owner]
	if !ok {
		sum = sha256.New()
		s.sums[owner] = sum
	}
	addToSum(sum, i.YAML, raw)
	return s.ctx.Err()
}

// addToSum adds a meta to the digest of its package. The format is part of it,
// because the same text can mean different things.
func addToSum(sum hash.Hash, yaml bool, raw []byte) {
	var head [9]byte
	binary.BigEndian.PutUint64(head[:], uint64(len(raw)))
	if yaml {
		head[8] = 1
	}
	sum.Write(head[:])
	sum.Write(raw)
}

// input is a window on a file that moves on demand.
type input struct {
	r   io.Reader
	buf []byte
	// pos is where the window begins in buf, base where it begins in the file.
	pos  int
	base int64
	eof  bool
}

// window is what was read and not passed yet.
func (in *input) window() []byte { return in.buf[in.pos:] }

// pass moves the window's beginning by n bytes.
func (in *input) pass(n int) {
	in.pos += n
	in.base += int64(n)
}

// fill reads until the window has n bytes or the file ends. A window that was
// returned before is invalid afterwards.
func (in *input) fill(n int) error {
	if in.pos > 0 && in.pos+n > cap(in.buf) {
		in.buf = in.buf[:copy(in.buf, in.buf[in.pos:])]
		in.pos = 0
	}
	if n > cap(in.buf) {
		grown := make([]byte, len(in.buf), max(n, 2*cap(in.buf), 256<<10))
		copy(grown, in.buf)
		in.buf = grown
	}
	for len(in.buf)-in.pos < n && !in.eof {
		k, err := in.r.Read(in.buf[len(in.buf):cap(in.buf)])
		in.buf = in.buf[:len(in.buf)+k]
		if errors.Is(err, io.EOF) {
			in.eof = true
		} else if err != nil {
			return err
		}
	}
	return nil
}

// position turns an offset into line and column, both from 1; columns are
// bytes. It reads the file again, which only a mistake costs.
func position(open func() (io.ReadCloser, error), off int64) (line, column int64) {
	line, column = 1, off+1
	r, err := open()
	if err != nil {
		return line, column
	}
	defer r.Close()
	var (
		buf  = make([]byte, 64<<10)
		seen int64
	)
	for seen < off {
		n, err := r.Read(buf[:min(int64(len(buf)), off-seen)])
		if k := bytes.Count(buf[:n], []byte("\n")); k > 0 {
			line += int64(k)
			column = off - (seen + int64(bytes.LastIndexByte(buf[:n], '\n')))
		}
		seen += int64(n)
		if err != nil {
			break
		}
	}
	return line, column
}
