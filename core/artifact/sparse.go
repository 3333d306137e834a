package artifact

import (
	"errors"
	"io"
	"os"
)

// block is how much is looked at for zeros at once, a multiple of what file
// systems allocate.
const block = 64 << 10

var zeros [block]byte

// copySparse writes content to an empty file, with holes where whole blocks are
// zero: a disk image of many gigabytes may hold a few megabytes.
func copySparse(file *os.File, content io.Reader) (int64, error) {
	var size int64
	buf := make([]byte, block)
	for {
		n, err := io.ReadFull(content, buf)
		if n > 0 && string(buf[:n]) != string(zeros[:n]) {
			if _, err := file.WriteAt(buf[:n], size); err != nil {
				return size, err
			}
		}
		size += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			// The last block may be one that was not written.
			return size, file.Truncate(size)
		case err != nil:
			return size, err
		}
	}
}
