package servecache

import (
	"fmt"
	"iter"
	"math"

	"github.com/iib-engine/iib/sdk/image/layer"
)

// segmentLimit is the length of a file of records. Tests make it smaller.
var segmentLimit int64 = math.MaxUint32

// segment is a file of records: the header, then records, of which each has
// its place in the hash table.
type segment struct {
	number  int
	content []layer.Part
	size    int64
	records uint64
}

// name is what the library calls the files that it creates one after the other.
func (s *segment) name() string { return fmt.Sprintf("%05d-%d.psg", s.number, s.number+1) }

// layout lays records out in segments.
type layout struct {
	segments []*segment
	slots    []slot
}

func newLayout() *layout {
	l := &layout{}
	l.grow()
	return l
}

// grow begins another segment.
func (l *layout) grow() {
	l.segments = append(l.segments, &segment{
		number: len(l.segments), content: []layer.Part{layer.Bytes(fileHeader())}, size: pogrebHeader,
	})
}

// add puts records with their content, all in one segment.
func (l *layout) add(content layer.Part, records ...stateRecord) error {
	if content.Size == 0 {
		return nil
	}
	if pogrebHeader+content.Size > segmentLimit {
		return fmt.Errorf("%d bytes of records: more than a segment of the database takes", content.Size)
	}
	s := l.segments[len(l.segments)-1]
	if s.size+content.Size > segmentLimit {
		l.grow()
		s = l.segments[len(l.segments)-1]
	}
	off := s.size
	for _, r := range records {
		l.slots = append(l.slots, slot{
			hash: murmur3(r.Key, hashSeed), segment: uint16(s.number),
			key: uint16(len(r.Key)), value: uint32(r.Value), offset: uint32(off),
		})
		off += r.Frame
	}
	s.content = append(s.content, content)
	s.size += content.Size
	s.records += uint64(len(records))
	return nil
}

// layout lays out what is in the states and the summary of the packages.
func (c *Cache) layout() (*layout, error) {
	l := newLayout()
	for _, s := range c.states {
		if err := l.add(c.sectionPart(s, bundleSection), s.Bundles...); err != nil {
			return nil, invalid(s.pkg, "%v", err)
		}
		if err := l.add(c.sectionPart(s, customSection), s.Customs...); err != nil {
			return nil, invalid(s.pkg, "%v", err)
		}
	}
	framed := pogrebEncoding{}.frame(nil, record{packagesKey, c.packages})
	err := l.add(layer.Bytes(framed), stateRecord{Key: packagesKey, Value: int64(len(c.packages)), Frame: int64(len(framed))})
	if err != nil {
		return nil, fmt.Errorf("summary of the packages: %w", err)
	}
	return l, nil
}

// pogrebEntries yields what opm's cache directory holds after a build.
func (c *Cache) pogrebEntries(digest func() (string, error)) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		l, err := c.layout()
		if err != nil {
			yield(layer.Entry{}, err)
			return
		}
		const base = string(Pogreb) + "/"
		entries := []layer.Entry{c.dir("."), c.dir(string(Pogreb)), c.dir(base + "db")}
		for i, s := range l.segments {
			meta := gobStream("segmentMeta", gobBool("Full", i+1 < len(l.segments)), gobUint("PutRecords", s.records),
				gobUint("DeleteRecords", 0), gobUint("DeletedKeys", 0), gobUint("DeletedBytes", 0))
			entries = append(entries,
				c.file(base+"db/"+s.name(), s.content...),
				c.file(base+"db/"+s.name()+".pmt", headed(meta)))
		}
		table := newHashTable(l.slots)
		entries = append(entries,
			c.file(base+"db/db.pmt", headed(gobStream("dbMeta", gobUint("HashSeed", hashSeed)))),
			c.file(base+"db/index.pmt", headed(gobStream("indexMeta", gobUint("Level", table.level),
				gobUint("NumKeys", uint64(len(l.slots))), gobUint("NumBuckets", table.buckets), gobUint("SplitBucketIndex", table.split)))),
			c.file(base+"db/main.pix", layer.Bytes(table.main)),
			c.file(base+"db/overflow.pix", layer.Bytes(table.overflow)))
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		value, err := digest()
		if err != nil {
			yield(layer.Entry{}, err)
			return
		}
		yield(c.file(base+"digest", layer.Bytes([]byte(value))), nil)
	}
}

// headed is a file of the database with some content.
func headed(content []byte) layer.Part { return layer.Bytes(append(fileHeader(), content...)) }
