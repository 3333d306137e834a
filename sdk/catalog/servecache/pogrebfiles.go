package servecache

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/iib-engine/iib/sdk/image/layer"
)

// segmentLimit is the length of a file of records. Tests make it smaller.
var segmentLimit int64 = math.MaxUint32

// segment is a file of records: the header, then records, of which each has
// its place in the hash table.
type segment struct {
	number  int
	content []extent
	size    int64
	records uint64
}

// extent is a run of bytes of a segment, which begins at off. It can be read
// in any order too.
type extent struct {
	layer.Part
	off    int64
	readAt func(p []byte, off int64) error
}

// inMemory returns an extent of bytes.
func inMemory(data []byte) extent {
	return extent{Part: layer.Bytes(data), readAt: func(p []byte, off int64) error {
		copy(p, data[off:])
		return nil
	}}
}

// inState returns a section of a state as an extent.
func (c *Cache) inState(s *state, section int) extent {
	return extent{Part: c.sectionPart(s, section), readAt: func(p []byte, off int64) error {
		r, err := s.open(c.store.states, s.offset(section)+off, int64(len(p)))
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.ReadFull(r, p)
		return err
	}}
}

// parts is the segment's content for a layer.
func (s *segment) parts() []layer.Part {
	parts := make([]layer.Part, len(s.content))
	for i, e := range s.content {
		parts[i] = e.Part
	}
	return parts
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
		number: len(l.segments), content: []extent{inMemory(fileHeader())}, size: pogrebHeader,
	})
}

// add puts records with their content, all in one segment.
func (l *layout) add(content extent, records ...stateRecord) error {
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
	content.off = s.size
	s.content = append(s.content, content)
	s.size += content.Size
	s.records += uint64(len(records))
	return nil
}

// layout lays out what is in the states and the summary of the packages.
func (c *Cache) layout() (*layout, error) {
	l := newLayout()
	for _, s := range c.states {
		if err := l.add(c.inState(s, bundleSection), s.Bundles...); err != nil {
			return nil, invalid(s.pkg, "%v", err)
		}
		if err := l.add(c.inState(s, customSection), s.Customs...); err != nil {
			return nil, invalid(s.pkg, "%v", err)
		}
	}
	framed := pogrebEncoding{}.frame(nil, record{packagesKey, c.packages})
	err := l.add(inMemory(framed), stateRecord{Key: packagesKey, Value: int64(len(c.packages)), Frame: int64(len(framed))})
	if err != nil {
		return nil, fmt.Errorf("summary of the packages: %w", err)
	}
	return l, nil
}

// tables are the database's files besides the segments, by name.
func (l *layout) tables() map[string][]byte {
	files := make(map[string][]byte)
	for i, s := range l.segments {
		files[s.name()+".pmt"] = headed(gobStream("segmentMeta",
			gobBool("Full", i+1 < len(l.segments)), gobUint("PutRecords", s.records),
			gobUint("DeleteRecords", 0), gobUint("DeletedKeys", 0), gobUint("DeletedBytes", 0)))
	}
	table := newHashTable(l.slots)
	files["db.pmt"] = headed(gobStream("dbMeta", gobUint("HashSeed", hashSeed)))
	files["index.pmt"] = headed(gobStream("indexMeta",
		gobUint("Level", table.level), gobUint("NumKeys", uint64(len(l.slots))),
		gobUint("NumBuckets", table.buckets), gobUint("SplitBucketIndex", table.split)))
	files["main.pix"], files["overflow.pix"] = table.main, table.overflow
	return files
}

// headed is the content of a file of the database with the header before it.
func headed(content []byte) []byte { return append(fileHeader(), content...) }

// pogrebEntries yields what opm's cache directory holds after a build.
func (c *Cache) pogrebEntries(digest func() (string, error)) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		l, err := c.layout()
		if err != nil {
			yield(layer.Entry{}, err)
			return
		}
		const base = string(Pogreb)
		files := make(map[string][]layer.Part)
		for _, s := range l.segments {
			files[s.name()] = s.parts()
		}
		for name, data := range l.tables() {
			files[name] = []layer.Part{layer.Bytes(data)}
		}
		entries := []layer.Entry{c.dir("."), c.dir(base), c.dir(base + "/db")}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			entries = append(entries, c.file(base+"/db/"+name, files[name]...))
		}
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
		yield(c.file(base+"/digest", layer.Bytes([]byte(value))), nil)
	}
}
