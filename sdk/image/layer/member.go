package layer

import (
	"bytes"
	"runtime"

	"github.com/klauspost/compress/gzip"

	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

const (
	// level is the compressor's. A member is compressed once and uploaded with
	// every later layer, so size counts for more than speed: on a catalog's
	// pogreb cache level 3 is half again as fast as 6, and a third larger.
	level = 6
	// compressor names library and level. It changes with whatever changes a
	// member's bytes, which a test notices.
	compressor = "klauspost-1.19-6"

	// chunkSize is the longest member's content.
	chunkSize = 1 << 20
	// looseSize is the content that is not worth a member of its own.
	looseSize = 16 << 10
)

func workers(n int) int {
	if n <= 0 {
		n = min(runtime.GOMAXPROCS(0), 8)
	}
	return n
}

// piece is the content of one member, on its way through the workers.
type piece struct {
	data []byte
	// keep tells that the member is worth keeping.
	keep bool
	// want is the digest that data must have, unless zero; name is its file.
	want cas.Key
	name string

	// member is data compressed; done is closed when it or err is there.
	member []byte
	err    error
	done   chan struct{}
}

// press is one worker's compressor.
type press struct {
	members *cas.Store
	gz      *gzip.Writer
	out     bytes.Buffer
}

// run makes the piece's member, or finds it.
func (c *press) run(p *piece) {
	defer close(p.done)
	var key cas.Key
	if p.keep {
		key = cas.Sum(p.data)
		if !p.want.IsZero() && key != p.want {
			p.err = mismatch(p.name, p.want, key)
			return
		}
		if member, err := c.members.Get(key, p.member); err == nil {
			p.member = member
			return
		}
	}
	if p.err = c.compress(p); p.err != nil || !p.keep {
		return
	}
	// A cache that does not take the member is no reason to fail the layer.
	_ = c.members.Put(key, p.member)
}

func (c *press) compress(p *piece) error {
	c.out.Reset()
	if c.gz == nil {
		gz, err := gzip.NewWriterLevel(&c.out, level)
		if err != nil {
			return err
		}
		c.gz = gz
	} else {
		c.gz.Reset(&c.out)
	}
	if _, err := c.gz.Write(p.data); err != nil {
		return err
	}
	if err := c.gz.Close(); err != nil {
		return err
	}
	p.member = append(p.member[:0], c.out.Bytes()...)
	return nil
}
