package dnf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
)

// question is what the helper reads.
type question struct {
	Do         string          `json:"do"`
	Sources    []solve.Source  `json:"sources"`
	Gateway    string          `json:"gateway"`
	Passes     []pass          `json:"passes"` // one for each source
	CAFile     string          `json:"ca_file,omitempty"`
	Wishes     *solve.Wishes   `json:"wishes,omitempty"`
	Globs      []string        `json:"globs,omitempty"`
	Packages   []solve.Package `json:"packages,omitempty"`
	Directory  string          `json:"directory,omitempty"`
	Fresh      bool            `json:"fresh"`
	Changelogs bool            `json:"changelogs"`

	Cache      string `json:"cache"`
	Scratch    string `json:"scratch"`
	Arch       string `json:"arch"`
	BaseArch   string `json:"basearch"`
	ReleaseVer string `json:"releasever"`
	Platform   string `json:"platform"`
	MaxAge     int    `json:"max_age"`
}

// pass is what the helper shows to the gateway for one source.
type pass struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// answer is the union of what the helper can answer.
type answer struct {
	Packages []solve.Package   `json:"packages"`
	Matches  [][]solve.Package `json:"matches"`
	Projects []struct {
		Name        string `json:"name"`
		Summary     string `json:"summary"`
		Description string `json:"description"`
		Homepage    string `json:"homepage"`
		Builds      []struct {
			solve.Package
			Built     int64  `json:"built"`
			License   string `json:"license"`
			Changelog string `json:"changelog"`
		} `json:"builds"`
	} `json:"projects"`
	Files []struct {
		solve.Package
		Path      string `json:"path"`
		Checksum  string `json:"checksum"`
		Source    string `json:"source"`
		Built     int64  `json:"built"`
		Size      int64  `json:"size"`
		Installed int64  `json:"installed"`
	} `json:"files"`
}

// line is one line that the helper writes.
type line struct {
	Progress *struct {
		Done  int64 `json:"done"`
		Total int64 `json:"total"`
	} `json:"progress"`
	Result *answer `json:"result"`
	Error  *struct {
		Code    sdk.Code `json:"code"`
		Message string   `json:"message"`
		// Source is the ID of the one that is at fault, if that is known.
		Source string `json:"source"`
	} `json:"error"`
}

// refusal is an error of the helper.
type refusal struct {
	err    *sdk.Error
	source string
}

func (r *refusal) Error() string { return r.err.Message }
func (r *refusal) Unwrap() error { return r.err }

// largest bounds an answer: all packages of a large distribution take some
// tens of MiB.
const largest = 512 << 20

// call runs the helper once.
func (s *Solver) call(ctx context.Context, q question, progress func(done, total int64)) (*answer, error) {
	limit := s.opts.Timeout
	if limit == 0 {
		limit = 10 * time.Minute
		if q.Do == "download" {
			limit = 2 * time.Hour
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, sdk.Errorf(sdk.Unavailable, "dnf has not answered within %v: a source is slow or does not answer", limit))
	defer cancel()

	if q.Sources == nil {
		q.Sources = []solve.Source{}
	}
	out, err := open(s.opts.Rule, q.Sources)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	q.Gateway, q.Passes, q.CAFile = out.Address(), out.shown(), s.opts.CAFile
	scratch, err := os.MkdirTemp(s.opts.CacheDir, "call-")
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "dnf: %w", err)
	}
	defer os.RemoveAll(scratch)
	q.Cache, q.Scratch = s.opts.CacheDir, scratch
	q.Arch, q.BaseArch = s.opts.Arch, baseArch(s.opts.Arch)
	q.ReleaseVer, q.Platform = s.opts.ReleaseVer, s.opts.Platform
	q.MaxAge = int(MaxAge / time.Second)
	input, err := json.Marshal(q)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "dnf: %w", err)
	}

	read, write, err := os.Pipe()
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "dnf: %w", err)
	}
	defer read.Close()
	type outcome struct {
		answer *answer
		err    error
	}
	answered := make(chan outcome, 1)
	go func() {
		a, err := listen(read, progress)
		// Without a reader the helper would wait until its time is up.
		_, _ = io.Copy(io.Discard, read)
		answered <- outcome{a, err}
	}()
	command := process.Command{
		Program: s.opts.Python,
		// The script is an argument: a file could be exchanged by another.
		// Isolated mode looks at no variable and at no directory but the system's.
		Args:  []string{"-I", "-B", "-c", script},
		Dir:   scratch,
		Stdin: bytes.NewReader(input),
		Files: []*os.File{write},
	}
	err = command.Run(ctx)
	write.Close()
	if errors.Is(err, context.DeadlineExceeded) || (err != nil && ctx.Err() != nil) {
		<-answered
		return nil, err
	}
	got := <-answered
	switch {
	case got.err != nil:
		return nil, out.explain(got.err)
	case err != nil:
		var failure *process.Failure
		if errors.As(err, &failure) && failure.NoSpace() {
			return nil, sdk.Errorf(sdk.Internal, "dnf: no space is left on the disk of %s", s.opts.CacheDir)
		}
		if sdk.CodeOf(err) == sdk.Unavailable {
			return nil, sdk.Errorf(sdk.Unavailable, "packages cannot be solved: %v", err)
		}
		return nil, sdk.Errorf(sdk.Internal, "dnf helper: %w", err)
	case got.answer == nil:
		return nil, sdk.Errorf(sdk.Internal, "dnf helper: it has ended without an answer")
	}
	return got.answer, nil
}

// listen reads lines until the answer.
func listen(r io.Reader, progress func(done, total int64)) (*answer, error) {
	in := bufio.NewReaderSize(io.LimitReader(r, largest), 64<<10)
	decoder := json.NewDecoder(in)
	for {
		var l line
		switch err := decoder.Decode(&l); {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, sdk.Errorf(sdk.Internal, "dnf helper: its answer cannot be read: %v", err)
		case l.Error != nil:
			code := l.Error.Code
			if !code.Known() {
				code = sdk.Internal
			}
			return nil, &refusal{&sdk.Error{Code: code, Message: strings.TrimSpace(l.Error.Message)}, l.Error.Source}
		case l.Result != nil:
			return l.Result, nil
		case l.Progress != nil && progress != nil:
			progress(l.Progress.Done, l.Progress.Total)
		}
	}
}

// baseArch is what $basearch stands for.
func baseArch(arch string) string {
	switch arch {
	case "i386", "i486", "i586", "i686", "athlon":
		return "i386"
	case "armv7l", "armv7hl", "armv6hl":
		return "armhfp"
	}
	return arch
}
