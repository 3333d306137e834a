package servecache

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// state is what one package gives to a cache. Its file has four sections: the
// normalized metas, the framed records of bundles, those of custom metas, and
// the summary; then the table that this struct is, and its length.
type state struct {
	// Normal are the lengths of the normalized metas.
	Normal []int64
	// Bundles and Customs describe the records, in the order of their keys.
	Bundles, Customs []stateRecord
	// Sections are the lengths of the sections, Sums their checksums.
	Sections [sections]int64
	Sums     [sections]uint32

	pkg string
	key cas.Key
}

// stateRecord is the key of a record, the lengths of its value and of the whole
// record with its frame, and the checksum of this.
type stateRecord struct {
	Key          string
	Value, Frame int64
	Sum          uint32
}

const (
	normalSection = iota
	bundleSection
	customSection
	summarySection
	sections
)

// stateVersion changes with whatever changes a state that the same package
// has: this code, or the operator framework's.
const stateVersion = "iib serve cache state 1, operator-registry v1.73.0"

func stateKey(f Format, digest string) cas.Key {
	return cas.Sum([]byte(stateVersion + "\n" + string(f) + "\n" + digest))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stateWriter writes a state, section after section.
type stateWriter struct {
	w     *cas.Writer
	state state
	buf   []byte
}

func (w *stateWriter) write(section int, data []byte) error {
	w.state.Sections[section] += int64(len(data))
	w.state.Sums[section] = crc32.Update(w.state.Sums[section], castagnoli, data)
	_, err := w.w.Write(data)
	return err
}

func (w *stateWriter) normal(blob []byte) error {
	w.state.Normal = append(w.state.Normal, int64(len(blob)))
	return w.write(normalSection, blob)
}

func (w *stateWriter) bundle(enc encoding, r record) error {
	return w.record(enc, bundleSection, &w.state.Bundles, r)
}

// custom is called after the last bundle.
func (w *stateWriter) custom(enc encoding, r record) error {
	return w.record(enc, customSection, &w.state.Customs, r)
}

func (w *stateWriter) record(enc encoding, section int, list *[]stateRecord, r record) error {
	w.buf = enc.frame(w.buf[:0], r)
	*list = append(*list, stateRecord{Key: r.key, Value: int64(len(r.value)), Frame: int64(len(w.buf)), Sum: crc32.Checksum(w.buf, castagnoli)})
	return w.write(section, w.buf)
}

// finish writes the table and puts the state into the store.
func (w *stateWriter) finish(key cas.Key) error {
	var table bytes.Buffer
	if err := gob.NewEncoder(&table).Encode(&w.state); err != nil {
		return err
	}
	var tail [tailSize]byte
	binary.LittleEndian.PutUint32(tail[:4], uint32(table.Len()))
	binary.LittleEndian.PutUint32(tail[4:], crc32.Checksum(table.Bytes(), castagnoli))
	table.Write(tail[:])
	if _, err := w.w.Write(table.Bytes()); err != nil {
		return err
	}
	return w.w.Commit(key)
}

// tailSize is the end of a state's file: length and checksum of the table.
const tailSize = 8

// loadState reads the table of a state. Damage counts as a miss.
func loadState(store *cas.Store, pkg string, key cas.Key) (*state, error) {
	f, err := store.Open(key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &state{pkg: pkg, key: key}
	if err := s.read(f); err != nil {
		_ = store.Remove(key)
		return nil, fmt.Errorf("state of package %s: %w: %v", pkg, fs.ErrNotExist, err)
	}
	return s, nil
}

func (s *state) read(f *cas.File) error {
	var tail [tailSize]byte
	if _, err := f.ReadAt(tail[:], f.Size()-tailSize); err != nil {
		return err
	}
	size := int64(binary.LittleEndian.Uint32(tail[:4]))
	if size > f.Size()-tailSize {
		return cas.ErrDamaged
	}
	table := make([]byte, size)
	if _, err := f.ReadAt(table, f.Size()-tailSize-size); err != nil {
		return err
	}
	if crc32.Checksum(table, castagnoli) != binary.LittleEndian.Uint32(tail[4:]) {
		return cas.ErrDamaged
	}
	if err := gob.NewDecoder(bytes.NewReader(table)).Decode(s); err != nil {
		return err
	}
	var content int64
	for _, n := range s.Sections {
		content += n
	}
	if content+size+tailSize != f.Size() {
		return cas.ErrDamaged
	}
	return nil
}

// offset is where a section begins.
func (s *state) offset(section int) int64 {
	var off int64
	for _, n := range s.Sections[:section] {
		off += n
	}
	return off
}

// open returns a run of bytes of a state's file.
func (s *state) open(store *cas.Store, off, n int64) (io.ReadCloser, error) {
	f, err := store.Open(s.key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.Unavailable, "serve cache state of package %s: no longer in the store", s.pkg)
	}
	if err != nil {
		return nil, fmt.Errorf("serve cache state of package %s: %w", s.pkg, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// openSection returns a section; reading it to its end fails if it is damaged.
func (s *state) openSection(store *cas.Store, section int) (io.ReadCloser, error) {
	return s.openChecked(store, s.offset(section), s.Sections[section], s.Sums[section])
}

// openRecord returns a record likewise, with its frame.
func (s *state) openRecord(store *cas.Store, off int64, r stateRecord) (io.ReadCloser, error) {
	return s.openChecked(store, off, r.Frame, r.Sum)
}

func (s *state) openChecked(store *cas.Store, off, n int64, want uint32) (io.ReadCloser, error) {
	r, err := s.open(store, off, n)
	if err != nil {
		return nil, err
	}
	return &checkedReader{ReadCloser: r, store: store, state: s, want: want}, nil
}

type checkedReader struct {
	io.ReadCloser
	store     *cas.Store
	state     *state
	sum, want uint32
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.sum = crc32.Update(r.sum, castagnoli, p[:n])
	if err == io.EOF && r.sum != r.want {
		return n, r.state.damaged(r.store)
	}
	return n, err
}

// damaged drops the state and returns the error that says so.
func (s *state) damaged(store *cas.Store) error {
	_ = store.Remove(s.key)
	return sdk.Errorf(sdk.Unavailable, "serve cache state of package %s: %w", s.pkg, cas.ErrDamaged)
}
