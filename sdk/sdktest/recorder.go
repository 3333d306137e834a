package sdktest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/iib-engine/iib/sdk"
)

// Recorder plays the engine behind a job or a bundle and remembers what it was
// asked. The zero value works; what is set must be set before its first use.
// Its methods are safe for concurrent use.
type Recorder struct {
	// Doc, if set, makes the Recorder refuse fields and artifacts that the
	// handler does not describe, as the engine does. "arches" is described
	// always.
	Doc *sdk.HandlerDoc
	// Secrets are what came with the request.
	Secrets map[string]sdk.Secret

	// OnGate answers Gate; nil lets everything pass.
	OnGate func(ctx context.Context, images []sdk.Image) error
	// OnCustomize answers Customize; nil changes nothing.
	OnCustomize func(ctx context.Context, organization string, bundle *sdk.Bundle) error
	// OnBuild answers Build; nil makes digests up from the spec.
	OnBuild func(ctx context.Context, spec *sdk.ImageSpec) (*sdk.BuiltImage, error)
	// OnPublish answers Publish; nil publishes whatever it is asked to.
	OnPublish func(ctx context.Context, p *sdk.Publication) (*sdk.Published, error)
	// OnAccess answers Access; nil gives anonymous access.
	OnAccess func(ctx context.Context, image string) (sdk.Access, error)

	mu        sync.Mutex
	record    Record
	locks     map[string]chan struct{}
	workspace string // set by NewJob
}

var (
	_ sdk.JobHost    = (*Recorder)(nil)
	_ sdk.BundleHost = (*Recorder)(nil)
)

// Record is what a Recorder was asked, in order.
type Record struct {
	// States are the reasons; the same twice in a row is one.
	States   []string
	Lines    []sdk.LogLine
	Progress []sdk.Progress
	// Fields are the latest values.
	Fields map[string]json.RawMessage
	// Artifacts are the contents of the files when they were stored.
	Artifacts map[string][]byte
	Gated     [][]sdk.Image
	// Customized are the bundles as they came, without their host.
	Customized []Customization
	Built      []*sdk.ImageSpec
	Published  []*sdk.Publication
	// Locked are the names of the locks that were got.
	Locked []string
}

// Customization is a call of Customize.
type Customization struct {
	Organization string
	Bundle       *sdk.Bundle
}

// Record returns what there is so far. The caller may change it.
func (r *Recorder) Record() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.record
	c.States = slices.Clone(c.States)
	c.Lines = slices.Clone(c.Lines)
	c.Progress = slices.Clone(c.Progress)
	c.Fields = maps.Clone(c.Fields)
	c.Artifacts = maps.Clone(c.Artifacts)
	c.Gated = slices.Clone(c.Gated)
	c.Customized = slices.Clone(c.Customized)
	c.Built = slices.Clone(c.Built)
	c.Published = slices.Clone(c.Published)
	c.Locked = slices.Clone(c.Locked)
	return c
}

// Text returns the lines of the log, without their levels.
func (r Record) Text() string {
	var b strings.Builder
	for _, line := range r.Lines {
		b.WriteString(line.Text + "\n")
	}
	return b.String()
}

// Field decodes a field into v, or fails.
func (r Record) Field(name string, v any) error {
	data, ok := r.Fields[name]
	if !ok {
		return fmt.Errorf("there is no field %s", name)
	}
	return json.Unmarshal(data, v)
}

func (r *Recorder) note(f func(*Record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.record)
}

// State implements sdk.JobHost.
func (r *Recorder) State(_ context.Context, reason string) error {
	r.note(func(c *Record) {
		if n := len(c.States); n == 0 || c.States[n-1] != reason {
			c.States = append(c.States, reason)
		}
	})
	return nil
}

// Log implements sdk.JobHost and sdk.BundleHost.
func (r *Recorder) Log(_ context.Context, line sdk.LogLine) error {
	r.note(func(c *Record) { c.Lines = append(c.Lines, line) })
	return nil
}

// Progress implements sdk.JobHost.
func (r *Recorder) Progress(_ context.Context, p sdk.Progress) error {
	r.note(func(c *Record) { c.Progress = append(c.Progress, p) })
	return nil
}

// Fields implements sdk.JobHost.
func (r *Recorder) Fields(_ context.Context, fields map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if r.Doc != nil && name != "arches" &&
			!slices.ContainsFunc(r.Doc.Fields, func(f sdk.FieldDoc) bool { return f.Name == name && f.Shape != sdk.ShapeNone }) {
			return sdk.FieldErrorf(name, "field %s: the handler describes no such field, or none that may be written", name)
		}
	}
	r.note(func(c *Record) {
		if c.Fields == nil {
			c.Fields = make(map[string]json.RawMessage)
		}
		maps.Copy(c.Fields, fields)
	})
	return nil
}

// Artifact implements sdk.JobHost and sdk.BundleHost.
func (r *Recorder) Artifact(_ context.Context, name, path string) error {
	if r.Doc != nil && !slices.ContainsFunc(r.Doc.Artifacts, func(a sdk.ArtifactDoc) bool { return a.Name == name }) {
		return sdk.FieldErrorf(name, "artifact %s: the handler describes no such artifact", name)
	}
	r.mu.Lock()
	workspace := r.workspace
	r.mu.Unlock()
	if workspace != "" {
		if rel, err := filepath.Rel(workspace, path); err != nil || !filepath.IsLocal(rel) {
			return sdk.Errorf(sdk.Invalid, "artifact %s: %s is not in the workspace", name, path)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "artifact %s: %v", name, err)
	}
	r.note(func(c *Record) {
		if c.Artifacts == nil {
			c.Artifacts = make(map[string][]byte)
		}
		c.Artifacts[name] = content
	})
	return nil
}

// Gate implements sdk.JobHost.
func (r *Recorder) Gate(ctx context.Context, images []sdk.Image) error {
	r.note(func(c *Record) { c.Gated = append(c.Gated, images) })
	if r.OnGate == nil {
		return nil
	}
	return r.OnGate(ctx, images)
}

// Customize implements sdk.JobHost.
func (r *Recorder) Customize(ctx context.Context, organization string, bundle *sdk.Bundle) error {
	came := *bundle
	came.WithHost(nil)
	came.Labels = maps.Clone(bundle.Labels)
	r.note(func(c *Record) { c.Customized = append(c.Customized, Customization{organization, &came}) })
	if r.OnCustomize == nil {
		return nil
	}
	return r.OnCustomize(ctx, organization, bundle)
}

// Build implements sdk.JobHost.
func (r *Recorder) Build(ctx context.Context, spec *sdk.ImageSpec) (*sdk.BuiltImage, error) {
	r.note(func(c *Record) { c.Built = append(c.Built, spec) })
	if r.OnBuild != nil {
		return r.OnBuild(ctx, spec)
	}
	repository := spec.Repository
	if repository == "" {
		repository = buildRepository
	}
	built := &sdk.BuiltImage{Digest: digestOf(spec), Arches: make(map[string]string)}
	built.Image = repository + "@" + built.Digest
	for _, arch := range spec.Arches {
		built.Arches[arch] = digestOf(spec, arch)
	}
	for _, layer := range spec.Layers {
		built.Pushed += layer.Size
	}
	return built, nil
}

// buildRepository is the one that a Recorder builds in.
const buildRepository = "registry.example/iib-build"

// digestOf returns a digest that is the same for the same values.
func digestOf(values ...any) string {
	h := sha256.New()
	for _, v := range values {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		h.Write(data)
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

// Publish implements sdk.JobHost.
func (r *Recorder) Publish(ctx context.Context, p *sdk.Publication) (*sdk.Published, error) {
	if p.Image == "" {
		return nil, sdk.Errorf(sdk.NotFound, "this is the request's first run")
	}
	r.note(func(c *Record) { c.Published = append(c.Published, p) })
	if r.OnPublish != nil {
		return r.OnPublish(ctx, p)
	}
	_, digest, _ := strings.Cut(p.Image, "@")
	published := &sdk.Published{
		InternalCopy:         buildRepository + ":1",
		InternalCopyResolved: buildRepository + "@" + digest,
	}
	published.IndexImage, published.IndexImageResolved = published.InternalCopy, published.InternalCopyResolved
	if p.Overwrite != "" {
		published.IndexImage = p.Overwrite
		published.IndexImageResolved = repositoryOf(p.Overwrite) + "@" + digest
	}
	return published, nil
}

// repositoryOf cuts the digest or the tag from a pull spec.
func repositoryOf(spec string) string {
	spec, _, _ = strings.Cut(spec, "@")
	if i := strings.LastIndexByte(spec, ':'); i > strings.LastIndexByte(spec, '/') {
		spec = spec[:i]
	}
	return spec
}

// Lock implements sdk.JobHost.
func (r *Recorder) Lock(ctx context.Context, name string) (unlock func(), err error) {
	r.mu.Lock()
	if r.locks == nil {
		r.locks = make(map[string]chan struct{})
	}
	lock, ok := r.locks[name]
	if !ok {
		lock = make(chan struct{}, 1)
		r.locks[name] = lock
	}
	r.mu.Unlock()
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.note(func(c *Record) { c.Locked = append(c.Locked, name) })
	return sync.OnceFunc(func() { <-lock }), nil
}

// Secret implements sdk.JobHost.
func (r *Recorder) Secret(_ context.Context, name string) (sdk.Secret, error) {
	secret, ok := r.Secrets[name]
	if !ok {
		return "", sdk.Errorf(sdk.NotFound, "no secret %s came with the request", name)
	}
	return secret, nil
}

// Access implements sdk.JobHost and sdk.BundleHost.
func (r *Recorder) Access(ctx context.Context, image string) (sdk.Access, error) {
	if r.OnAccess == nil {
		return sdk.Access{}, nil
	}
	return r.OnAccess(ctx, image)
}
