package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Job is all that a handler may do. Its methods are safe for concurrent use.
// When the request was cancelled, has passed its deadline or was taken over by
// another worker, ctx of Handle is cancelled and every method fails.
type Job struct {
	Request
	// Workspace is an empty directory, private to this run, on a disk that
	// plugins of this engine share. The engine removes it afterwards.
	Workspace string
	// CacheDir is a directory shared by all runs of this plugin. Everything in
	// it is keyed by digest and may vanish between two runs.
	CacheDir string

	host JobHost
	done string
}

// NewJob returns a job whose calls go to host. Package serve calls it; a test
// of a handler uses sdktest instead.
func NewJob(request Request, workspace, cacheDir string, host JobHost) *Job {
	return &Job{Request: request, Workspace: workspace, CacheDir: cacheDir, host: host}
}

// Host returns what NewJob was given. Handlers use the other methods;
// the wire carries a job to its plugin by it.
func (j *Job) Host() JobHost { return j.host }

// JobHost is the engine as a running job sees it.
type JobHost interface {
	State(ctx context.Context, reason string) error
	Log(ctx context.Context, line LogLine) error
	Progress(ctx context.Context, p Progress) error
	Fields(ctx context.Context, fields map[string]json.RawMessage) error
	Artifact(ctx context.Context, name, path string) error
	Gate(ctx context.Context, images []Image) error
	Customize(ctx context.Context, organization string, bundle *Bundle) error
	Build(ctx context.Context, spec *ImageSpec) (*BuiltImage, error)
	Publish(ctx context.Context, p *Publication) (*Published, error)
	Lock(ctx context.Context, name string) (unlock func(), err error)
	Secret(ctx context.Context, name string) (Secret, error)
	Access(ctx context.Context, image string) (Access, error)
}

// Statef appends an in_progress state whose reason the requester sees at once.
// The same reason twice in a row is one state.
func (j *Job) Statef(ctx context.Context, format string, args ...any) error {
	return j.host.State(ctx, fmt.Sprintf(format, args...))
}

// Logf writes a line to the request's log. A failure to do so is not the
// handler's concern and is dropped.
func (j *Job) Logf(ctx context.Context, format string, args ...any) {
	_ = j.host.Log(ctx, LogLine{Level: LevelInfo, Text: fmt.Sprintf(format, args...)})
}

// Warnf writes a warning to the request's log.
func (j *Job) Warnf(ctx context.Context, format string, args ...any) {
	_ = j.host.Log(ctx, LogLine{Level: LevelWarn, Text: fmt.Sprintf(format, args...)})
}

// Progress tells live followers how far a phase is; it is not stored as a state.
func (j *Job) Progress(ctx context.Context, phase string, done, total int64) {
	_ = j.host.Progress(ctx, Progress{Phase: phase, Done: done, Total: total})
}

// SetFields writes values back to the request's representation. A field that
// the type does not describe, or a value of the wrong shape, is Invalid and
// nothing is written. "arches" only ever adds.
func (j *Job) SetFields(ctx context.Context, fields map[string]any) error {
	encoded := make(map[string]json.RawMessage, len(fields))
	for name, v := range fields {
		data, err := json.Marshal(v)
		if err != nil {
			return Errorf(Internal, "encode field %s: %v", name, err)
		}
		encoded[name] = data
	}
	return j.host.Fields(ctx, encoded)
}

// Artifact stores the file at path, which must lie in Workspace, under a name
// that the handler's documentation lists. An earlier one is replaced.
func (j *Job) Artifact(ctx context.Context, name, path string) error {
	return j.host.Artifact(ctx, name, path)
}

// Gate asks every gate configured for this request type, in order. The first
// denial is returned as an error of code Denied; an outage, after its retries,
// as Unavailable.
func (j *Job) Gate(ctx context.Context, images []Image) error {
	return j.host.Gate(ctx, images)
}

// Customize runs the steps configured for an organization on an unpacked
// bundle, in order; the default steps if the organization is unknown or empty.
func (j *Job) Customize(ctx context.Context, organization string, bundle *Bundle) error {
	return j.host.Customize(ctx, organization, bundle)
}

// Build makes an image for each architecture in parallel with the configured
// builder, and a list of them, and pushes both by digest into the build
// repository. No tag moves.
func (j *Job) Build(ctx context.Context, spec *ImageSpec) (*BuiltImage, error) {
	return j.host.Build(ctx, spec)
}

// Publish moves tags to a built image, under the lock of what it overwrites
// and with this job's claim checked. If the overwritten index is no longer
// p.Base, nothing moves and the error has ReasonMoved.
func (j *Job) Publish(ctx context.Context, p *Publication) (*Published, error) {
	return j.host.Publish(ctx, p)
}

// Published tells what an earlier run of this request has published, if one
// overwrote p.Overwrite and died before the request ended; else it is nil. What
// was published must not be published again: other requests may have changed
// the index since, or undone the change. The tags of this request and those of
// p.BuildTags then point to what was published.
func (j *Job) Published(ctx context.Context, p *Publication) (*Published, error) {
	asked := *p
	asked.Image = ""
	published, err := j.host.Publish(ctx, &asked)
	if CodeOf(err) == NotFound {
		return nil, nil
	}
	return published, err
}

// Lock waits for the engine-wide lock of that name, until ctx ends. The lock
// is released by unlock, or when this run ends in any way.
func (j *Job) Lock(ctx context.Context, name string) (unlock func(), err error) {
	return j.host.Lock(ctx, name)
}

// Secret returns a secret that came with the request, or a NotFound error.
func (j *Job) Secret(ctx context.Context, name string) (Secret, error) {
	return j.host.Secret(ctx, name)
}

// Access returns how to reach the registry of one image: address rules and the
// credentials for its repository. Credentials that came with the request win.
func (j *Job) Access(ctx context.Context, image string) (Access, error) {
	return j.host.Access(ctx, image)
}

// Done sets the reason of the final state that follows a nil error of Handle.
func (j *Job) Done(format string, args ...any) { j.done = fmt.Sprintf(format, args...) }

// Outcome returns what Done set.
func (j *Job) Outcome() string { return j.done }

// Level is the weight of a log line.
type Level string

const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// LogLine is one line of a request's log. Line breaks in Text are kept.
type LogLine struct {
	Level Level
	Text  string
}

// Progress is a phase's advance. Total 0 means that the end is not known.
type Progress struct {
	Phase string
	Done  int64
	Total int64
}

// Access is what a registry client needs to know about one image's registry.
type Access struct {
	Username string
	Password Secret
	// PlainHTTP tells that the registry speaks HTTP without TLS.
	PlainHTTP bool
	// CAFile is a file of PEM certificates to trust besides the system's.
	CAFile string
	// DeniedNetworks are CIDR ranges that a connection must not reach.
	DeniedNetworks []string
}

// ImageSpec is an image to be made for several architectures.
type ImageSpec struct {
	// Base is the image below the layers, pinned by digest, or "scratch".
	Base string
	// Arches are Go architecture names; each must be in Base.
	Arches []string
	// Layers are added on top of Base, the same for every architecture.
	Layers []Layer
	Config ImageConfig
	// OCI asks for OCI media types instead of Docker v2 schema 2.
	OCI bool
	// Repository is where to push; empty means the engine's build repository.
	Repository string
}

// ImageConfig is what an image's configuration gets on top of its base's. An
// empty field leaves the base's value.
type ImageConfig struct {
	Labels       map[string]string
	Entrypoint   []string
	Cmd          []string
	ExposedPorts []string
	// Created is the image's creation time, in UTC: the newest of the inputs',
	// never the time of the build, so that the same inputs give the same digest.
	Created time.Time
}

// Layer is a compressed layer that lies in a file.
type Layer struct {
	// Path is below the job's Workspace or CacheDir.
	Path string
	// Digest and Size are of the file, DiffID of its uncompressed content;
	// both digests in the form "sha256:...".
	Digest string
	DiffID string
	Size   int64
	// CreatedBy is the layer's line in the image's history.
	CreatedBy string
}

// BuiltImage is a pushed image that no tag points to yet.
type BuiltImage struct {
	// Image is the list's pull spec, by digest.
	Image string
	// Digest is the list's digest; Arches maps an architecture to its manifest's.
	Digest string
	Arches map[string]string
	// Pushed is the number of bytes that had to be sent.
	Pushed int64
}

// Publication is a wish to move tags to a built image.
type Publication struct {
	// Image is BuiltImage.Image. For Job.Published it is empty.
	Image string
	// BuildTags are further tags beside the request's own in the build repository.
	BuildTags []string
	// Overwrite is the pull spec of the index to replace, as the user wrote
	// it; empty replaces none.
	Overwrite string
	// Base is the index, by digest, that the edit started from. It is compared
	// with Overwrite under the lock. Empty means that Overwrite must not exist yet.
	Base string
}

// Published tells where an image can be found. All are pull specs.
type Published struct {
	// IndexImage is what a client pulls: the overwritten index as the user
	// wrote it, or the build's own tag as readers see it.
	IndexImage         string
	IndexImageResolved string
	// InternalCopy is the tag of this request in the build repository.
	InternalCopy         string
	InternalCopyResolved string
}
