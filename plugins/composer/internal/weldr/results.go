package weldr

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/ledger"
	"github.com/iib-engine/iib/sdk"
)

// result is a compose that is over.
type result struct {
	*ledger.Entry
	params *compose.Params
}

func (s *Server) result(c *call) (*result, error) {
	e, view, err := s.one(c)
	if err != nil {
		return nil, err
	}
	if !e.Over() {
		return nil, fault.New(fault.BuildInWrongState, "Build %s not in FINISHED or FAILED state.", e.UUID)
	}
	params, err := paramsOf(view)
	if err != nil {
		return nil, err
	}
	return &result{e, params}, nil
}

// attach begins a download.
func (c *call) attach(kind, name string) {
	c.w.Header().Set("Content-Type", kind)
	c.w.Header().Set("Content-Disposition", "attachment; filename="+name)
	c.w.WriteHeader(http.StatusOK)
}

// stream sends what write writes. A client must see that it is not whole, which
// takes a head that it has got already.
func (c *call) stream(write func(w io.Writer) error) error {
	if c.Method == http.MethodHead {
		return nil
	}
	_ = http.NewResponseController(c.w).Flush()
	if err := write(c.w); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

const tarType = "application/x-tar"

func (s *Server) getMetadata(c *call) error {
	r, err := s.result(c)
	if err != nil {
		return err
	}
	content, err := s.metadata(c, r)
	if err != nil {
		return err
	}
	defer content.Close()
	c.attach(tarType, r.UUID+"-metadata.tar")
	return c.stream(func(w io.Writer) error { _, err := io.Copy(w, content); return err })
}

func (s *Server) getLogs(c *call) error {
	r, err := s.result(c)
	if err != nil {
		return err
	}
	content, err := s.logs(c, r)
	if err != nil {
		return err
	}
	defer content.Close()
	c.attach(tarType, r.UUID+"-logs.tar")
	return c.stream(func(w io.Writer) error { _, err := io.Copy(w, content); return err })
}

func (s *Server) getImage(c *call) error {
	r, err := s.result(c)
	if err != nil {
		return err
	}
	image, err := s.image(c, r)
	if err != nil {
		return err
	}
	if image == nil {
		return fault.New(fault.BuildMissingFile, "Build %s is missing image file %s", r.UUID, r.params.ImageName)
	}
	defer image.Close()
	c.w.Header().Set("Content-Length", strconv.FormatInt(r.ImageSize, 10))
	c.attach("application/octet-stream", r.UUID+"-"+r.params.ImageName)
	// The server ends the connection if there are fewer bytes than it was told.
	return c.stream(func(w io.Writer) error { _, err := io.Copy(w, image); return err })
}

// getResults sends metadata, logs and image as one tar.
func (s *Server) getResults(c *call) error {
	r, err := s.result(c)
	if err != nil {
		return err
	}
	metadata, err := s.metadata(c, r)
	if err != nil {
		return err
	}
	defer metadata.Close()
	logs, err := s.logs(c, r)
	if err != nil {
		return err
	}
	defer logs.Close()
	image, err := s.image(c, r)
	if err != nil {
		return err
	}
	if image != nil {
		defer image.Close()
	}
	c.attach(tarType, r.UUID+".tar")
	return c.stream(func(w io.Writer) error {
		out := tar.NewWriter(w)
		for _, part := range []io.Reader{metadata, logs} {
			if err := copyMembers(out, part); err != nil {
				return err
			}
		}
		if image != nil {
			header := &tar.Header{Name: r.params.ImageName, Mode: 0o644, Size: r.ImageSize, ModTime: unixTime(r.Ended), Format: tar.FormatPAX}
			if err := out.WriteHeader(header); err != nil {
				return err
			}
			if _, err := io.Copy(out, image); err != nil {
				return err
			}
		}
		return out.Close()
	})
}

func copyMembers(out *tar.Writer, in io.Reader) error {
	members := tar.NewReader(in)
	for {
		header, err := members.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(out, members); err != nil {
			return err
		}
	}
}

func unixTime(seconds float64) time.Time { return time.UnixMicro(int64(seconds * 1e6)).UTC() }

// image opens the image, nil if there is none.
func (s *Server) image(c *call, r *result) (io.ReadCloser, error) {
	if r.State != ledger.Finished {
		return nil, nil
	}
	return orNone(s.Host.Artifact(c.Context(), r.Request, compose.ArtifactImage))
}

// orNone makes an artifact that is not there none.
func orNone(content io.ReadCloser, err error) (io.ReadCloser, error) {
	if sdk.CodeOf(err) == sdk.NotFound {
		return nil, nil
	}
	return content, err
}

// metadata opens the tar of what is known of a compose. If its handler has not
// come to write it, it is made of what the handler was given.
func (s *Server) metadata(c *call, r *result) (io.ReadCloser, error) {
	content, err := orNone(s.Host.Artifact(c.Context(), r.Request, compose.ArtifactMetadata))
	if err != nil || content != nil {
		return content, err
	}
	type packages struct {
		Packages any `toml:"packages"`
	}
	type dep struct {
		Name    string `toml:"name"`
		Epoch   int    `toml:"epoch"`
		Version string `toml:"version"`
		Release string `toml:"release"`
		Arch    string `toml:"arch"`
	}
	deps := []dep{}
	for _, p := range r.params.Installed() {
		deps = append(deps, dep(p))
	}
	times := map[string]float64{"created": r.Created, "finished": r.Ended}
	if r.Started > 0 {
		times["started"] = r.Started
	}
	var files []member
	for _, f := range []struct {
		name  string
		value any
	}{{"deps.toml", packages{deps}}, {"config.toml", s.Config(r.params)}, {"times.toml", times}} {
		var out bytes.Buffer
		encoder := toml.NewEncoder(&out)
		encoder.Indent = ""
		if err := encoder.Encode(f.value); err != nil {
			return nil, err
		}
		files = append(files, member{f.name, out.Bytes()})
	}
	files = append(files,
		member{"blueprint.toml", []byte(r.params.Blueprint)}, member{"frozen.toml", []byte(r.params.Frozen)},
		member{"COMMIT", []byte(r.params.Commit)}, member{"STATUS", []byte(r.State)})
	return pack(files, unixTime(r.Ended))
}

// maxFallback bounds how much of the engine's log is packed in memory.
const maxFallback = 64 << 20

// logs opens the tar of the logs. If the handler has not come to write it, it
// has the engine's log of the request.
func (s *Server) logs(c *call, r *result) (io.ReadCloser, error) {
	content, err := orNone(s.Host.Artifact(c.Context(), r.Request, compose.ArtifactLogs))
	if err != nil || content != nil {
		return content, err
	}
	log, err := orNone(s.Host.Log(c.Context(), r.Request))
	if err != nil {
		return nil, err
	}
	var files []member
	if log != nil {
		defer log.Close()
		text, err := io.ReadAll(io.LimitReader(log, maxFallback))
		if err != nil {
			return nil, err
		}
		files = append(files, member{"logs/compose.log", text})
	}
	return pack(files, unixTime(r.Ended))
}

type member struct {
	name    string
	content []byte
}

func pack(files []member, when time.Time) (io.ReadCloser, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), ModTime: when.Truncate(time.Second)}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return io.NopCloser(&out), nil
}

func (s *Server) getLog(c *call) error {
	size, err := c.logSize()
	if err != nil {
		return err
	}
	e, _, err := s.one(c)
	if err != nil {
		return err
	}
	if e.State == ledger.Waiting {
		return c.ok(refusal{false, []message{{ID: fault.BuildInWrongState, Msg: "Build " + e.UUID + " has not started yet. No logs to view"}}})
	}
	log, err := s.Host.Log(c.Context(), e.Request)
	if err != nil {
		return fault.As(fault.ComposeError, err, "Build "+e.UUID+": ")
	}
	defer log.Close()
	text, err := tail(log, size)
	if err != nil {
		return fault.As(fault.ComposeError, err, "Build "+e.UUID+": ")
	}
	c.send(http.StatusOK, "text/plain; charset=utf-8", text)
	return nil
}

// tail returns the end of what is read, from the beginning of a line unless all
// of it fits.
func tail(r io.Reader, size int) ([]byte, error) {
	var kept []byte
	buf := make([]byte, 64<<10)
	whole := true
	for {
		n, err := r.Read(buf)
		kept = append(kept, buf[:n]...)
		// One byte more tells whether the rest begins at the start of a line.
		if len(kept) > 2*size+len(buf) {
			kept = append(kept[:0], kept[len(kept)-size-1:]...)
			whole = false
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if whole && len(kept) <= size {
		return kept, nil
	}
	kept = kept[max(len(kept)-size-1, 0):]
	if at := bytes.IndexByte(kept, '\n'); at >= 0 {
		return kept[at+1:], nil
	}
	return kept[1:], nil
}
