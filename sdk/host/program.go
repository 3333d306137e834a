package host

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/iib-engine/iib/sdk"
)

// program is a plugin's file, opened once: the descriptor that was hashed is
// the one that is executed. Whatever happens to the path in between, a rename
// or another link, has no effect.
//
// A writer who changes the same file in place is found out by its times, which
// are compared when the process runs; the kernel refuses to execute a file that
// is open for writing. A private copy, or a sealed one in memory, would exclude
// such a writer altogether, but costs tens of megabytes of disk or unswappable
// memory for each plugin and fails where the file system forbids execution. Who
// may write to the plugin's file is for the file's mode to say.
type program struct {
	path string // absolute, as in /proc/<pid>/cmdline
	file *os.File
	info os.FileInfo
	sum  [sha256.Size]byte
}

func openProgram(path, sum string) (*program, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "%s: %v", path, err)
	}
	f, err := os.OpenFile(abs, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not block
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.NotFound, "%w", err)
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Denied, "%w", err)
	}
	p := &program{path: abs, file: f}
	if err := p.check(sum); err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

func (p *program) check(sum string) error {
	info, err := p.file.Stat()
	if err != nil {
		return sdk.Errorf(sdk.Internal, "%v", err)
	}
	if !info.Mode().IsRegular() {
		return sdk.Errorf(sdk.Invalid, "%s: not a file", p.path)
	}
	if info.Mode()&0o111 == 0 {
		return sdk.Errorf(sdk.Denied, "%s: not executable", p.path)
	}
	p.info = info
	want, err := hex.DecodeString(strings.TrimPrefix(sum, "sha256:"))
	if sum != "" && (err != nil || len(want) != sha256.Size) {
		return sdk.Errorf(sdk.Invalid, "checksum %q: want sha256: and 64 hexadecimal digits", sum)
	}
	h := sha256.New()
	if _, err := io.Copy(h, p.file); err != nil {
		return sdk.Errorf(sdk.Unavailable, "read %s: %v", p.path, err)
	}
	h.Sum(p.sum[:0])
	if sum != "" && subtle.ConstantTimeCompare(p.sum[:], want) != 1 {
		return sdk.Errorf(sdk.Denied, "%s: its checksum is sha256:%x, not sha256:%x", p.path, p.sum, want)
	}
	return nil
}

// unchanged reports whether the file is still as it was when it was opened.
func (p *program) unchanged() error {
	now, err := p.file.Stat()
	if err != nil {
		return sdk.Errorf(sdk.Internal, "%v", err)
	}
	was, is := p.info.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	if was.Size != is.Size || was.Mtim != is.Mtim || was.Ctim != is.Ctim {
		return sdk.Errorf(sdk.Denied, "%s: somebody wrote to it while it was being started", p.path)
	}
	return nil
}

func (p *program) close() { p.file.Close() }
