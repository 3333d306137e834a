package cas

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
)

// A file is a frame header and the content. The header is written last.
const (
	frameMagic = "iib-cas1"
	frameSize  = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is returned at the end of reading content that is not what was
// written. The file is gone by then: making the content again cures it.
var ErrDamaged = errors.New("cached file is damaged")

type frame struct {
	size int64
	sum  uint32
}

func (f frame) encode() []byte {
	buf := make([]byte, frameSize)
	copy(buf, frameMagic)
	binary.LittleEndian.PutUint64(buf[8:], uint64(f.size))
	binary.LittleEndian.PutUint32(buf[16:], f.sum)
	return buf
}

// readFrame returns the header of a file, and whether file and header belong
// together as far as can be told without reading the content.
func readFrame(f *os.File, info os.FileInfo) (frame, bool) {
	var buf [frameSize]byte
	if _, err := f.ReadAt(buf[:], 0); err != nil || string(buf[:8]) != frameMagic {
		return frame{}, false
	}
	fr := frame{
		size: int64(binary.LittleEndian.Uint64(buf[8:])),
		sum:  binary.LittleEndian.Uint32(buf[16:]),
	}
	return fr, fr.size >= 0 && info.Size() == fr.size+frameSize
}

// File is content that is open for reading. It stays readable when the store
// drops it meanwhile. Methods may be called concurrently.
type File struct {
	f     *os.File
	frame frame
}

// Size is the length of the content.
func (f *File) Size() int64 { return f.frame.size }

// ReadAt reads content at an offset. It checks nothing: use it where the
// caller verifies what it reads, or read once through Reader before.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, os.ErrInvalid
	}
	if off >= f.frame.size {
		return 0, io.EOF
	}
	if rest := f.frame.size - off; int64(len(p)) > rest {
		n, err := f.f.ReadAt(p[:rest], off+frameSize)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return f.f.ReadAt(p, off+frameSize)
}

// Reader returns a reader of the whole content that ends with ErrDamaged
// instead of io.EOF if the content is not what was written.
func (f *File) Reader() io.Reader {
	return &verifier{file: f, r: io.NewSectionReader(f.f, frameSize, f.frame.size)}
}

// Close gives the file back.
func (f *File) Close() error { return f.f.Close() }

type verifier struct {
	file *File
	r    io.Reader
	sum  uint32
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum = crc32.Update(v.sum, castagnoli, p[:n])
	if err == io.EOF && v.sum != v.file.frame.sum {
		_ = os.Remove(v.file.f.Name())
		return n, ErrDamaged
	}
	return n, err
}
