// Package build is what a compose does once its turn has come: it makes the
// tree, applies the blueprint's customizations, packs the image, and stores it
// with everything that explains it.
package build

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/customize"
	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/gateway"
	"github.com/iib-engine/iib/plugins/composer/internal/gitrpm"
	"github.com/iib-engine/iib/plugins/composer/internal/pack"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
)

// Downloader fetches packages; *dnf.Solver is one.
type Downloader interface {
	Download(ctx context.Context, sources []solve.Source, packages []solve.Package, dir string, progress func(done, total int64)) ([]dnf.File, error)
	Arch() string
}

// Options are what a Builder needs.
type Options struct {
	// Packages fetches packages.
	Packages Downloader
	// Config returns the content of config.toml, to be encoded as TOML. Nil
	// describes the image's type alone.
	Config func(*compose.Params) any
	// Git is how repositories of a blueprint are reached.
	Git gateway.Way
	// Push also pushes images of type oci to the engine's registry.
	Push bool
	// TestTime is how long composes take that only pretend; 0 is 5 seconds.
	TestTime time.Duration
}

// Builder builds composes. It keeps nothing between two of them.
type Builder struct{ opts Options }

// New returns a builder.
func New(opts Options) *Builder {
	if opts.TestTime == 0 {
		opts.TestTime = 5 * time.Second
	}
	return &Builder{opts}
}

// Run makes the image of a compose and stores the artifacts image, metadata and
// logs, the last two also if it fails. It may run again from the start; what it
// needs lies in the job's workspace, which it leaves empty.
//
// Its error is what a user reads: Invalid if the blueprint or the packages are
// at fault, Unavailable if a source or a program is missing now.
func (b *Builder) Run(ctx context.Context, job *sdk.Job, params *compose.Params) error {
	r := &run{Builder: b, job: job, params: params, started: time.Now()}
	defer r.clear()
	err := r.prepare()
	if err == nil {
		err = r.build(ctx)
	}
	if ctx.Err() != nil {
		// Nobody is left to look at results, and the engine takes none.
		return context.Cause(ctx)
	}
	if err != nil {
		err = full(err)
		r.logf(ctx, "The compose has failed: %v", err)
	}
	if stored := r.store(ctx, err == nil); stored != nil {
		if err == nil {
			return full(stored)
		}
		job.Warnf(ctx, "the results of the failed compose could not be stored: %v", stored)
	}
	return err
}

// full makes a sentence of a full disk.
func full(err error) error {
	if pack.NoSpace(err) && !strings.Contains(err.Error(), "no space is left") {
		return sdk.Errorf(sdk.Internal, "no space is left on the disk of the workspace: %w", err)
	}
	return err
}

// run is one compose.
type run struct {
	*Builder
	job     *sdk.Job
	params  *compose.Params
	started time.Time

	results  string // the directory of the result files
	log      *os.File
	files    []dnf.File
	packages []solve.Package
	warnings []string
	image    string
}

func (r *run) path(elements ...string) string {
	return filepath.Join(append([]string{r.job.Workspace}, elements...)...)
}

// prepare makes the directories.
func (r *run) prepare() error {
	r.results = r.path("results")
	for _, dir := range []string{r.path("results", "logs"), r.path("tree"), r.path("packages"), r.path("work"), r.path("pack"), r.path("git")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return sdk.Errorf(sdk.Internal, "prepare the workspace: %w", err)
		}
	}
	var err error
	if r.log, err = os.OpenFile(r.path("results", "logs", "compose.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return sdk.Errorf(sdk.Internal, "prepare the workspace: %w", err)
	}
	return nil
}

// clear leaves nothing in the workspace.
func (r *run) clear() {
	if r.log != nil {
		r.log.Close()
	}
	entries, err := os.ReadDir(r.job.Workspace)
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = os.RemoveAll(r.path(e.Name()))
	}
}

// logf writes a line to the request's log and to the compose's own.
func (r *run) logf(ctx context.Context, format string, args ...any) {
	r.note("", format, args...)
	r.job.Logf(ctx, format, args...)
}

func (r *run) warnf(ctx context.Context, format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
	r.note("WARNING: ", format, args...)
	r.job.Warnf(ctx, format, args...)
}

func (r *run) note(prefix, format string, args ...any) {
	if r.log != nil {
		fmt.Fprintf(r.log, "%s %s%s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), prefix, fmt.Sprintf(format, args...))
	}
}

// step tells what happens now.
func (r *run) step(ctx context.Context, format string, args ...any) error {
	r.note("", format, args...)
	return r.job.Statef(ctx, format, args...)
}

func (r *run) build(ctx context.Context) error {
	r.packages = slices.Clone(r.params.Packages)
	r.image = filepath.Join(r.results, filepath.Base(r.params.ImageName))
	if r.params.Test != 0 {
		return r.pretend(ctx)
	}
	kind, ok := pack.Find(r.params.Kind, r.opts.Packages.Arch())
	switch {
	case !ok:
		return sdk.FieldErrorf("compose_type", "there is no image type %q", r.params.Kind)
	case !kind.Enabled:
		return sdk.FieldErrorf("compose_type", "%s", kind.Why)
	}
	if filepath.Base(r.params.ImageName) != r.params.ImageName || !filepath.IsLocal(r.params.ImageName) {
		return sdk.FieldErrorf("image_name", "%q is not a file's name", r.params.ImageName)
	}
	blueprint, ignored, err := customize.Parse(r.params.Customizations)
	if err != nil {
		return err
	}
	for _, key := range ignored {
		r.warnf(ctx, "customizations.%s is not known to this service, and has no effect", key)
	}
	if err := r.fetch(ctx); err != nil {
		return err
	}
	root, err := r.install(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := r.customize(ctx, root, blueprint); err != nil {
		return err
	}
	return r.pack(ctx, root, blueprint)
}

// pretend is a test compose (contract section 11.2).
func (r *run) pretend(ctx context.Context) error {
	if err := r.step(ctx, "Pretending to build an image, as a test"); err != nil {
		return err
	}
	timer := time.NewTimer(r.opts.TestTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.params.Test == 1 {
		return sdk.Errorf(sdk.Invalid, "this is a test compose that had to fail (test=1)")
	}
	if err := os.WriteFile(r.image, []byte("TEST IMAGE"), 0o600); err != nil {
		return sdk.Errorf(sdk.Internal, "write the test image: %w", err)
	}
	return nil
}

// fetch gets the packages, with those that are made of git repositories.
func (r *run) fetch(ctx context.Context) error {
	sources := slices.Clone(r.params.Sources)
	if len(r.params.Repos) > 0 {
		if err := r.step(ctx, "Packing %d git repositories", len(r.params.Repos)); err != nil {
			return err
		}
		dir := r.path("results", "repo")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return sdk.Errorf(sdk.Internal, "prepare the workspace: %w", err)
		}
		made, err := gitrpm.Build(ctx, r.opts.Git, r.params.Repos, dir, r.path("git"), func(line string) { r.logf(ctx, "%s", line) })
		if err != nil {
			return err
		}
		address := url.URL{Scheme: "file", Path: dir}
		// Before all others: nobody else's package of that name is meant.
		sources = append(sources, solve.Source{ID: gitrpm.SourceID, Name: gitrpm.SourceID, Type: solve.BaseURL, URL: address.String(), Priority: 1})
		r.packages = append(r.packages, made...)
		solve.Sort(r.packages)
	}
	if len(r.packages) == 0 {
		r.warnf(ctx, "the blueprint has no packages: the image is nearly empty")
		return nil
	}
	if err := r.step(ctx, "Downloading %d packages", len(r.packages)); err != nil {
		return err
	}
	var err error
	r.files, err = r.opts.Packages.Download(ctx, sources, r.packages, r.path("packages"), func(done, total int64) {
		r.job.Progress(ctx, "download", done, total)
	})
	if err != nil {
		return err
	}
	for _, f := range r.files {
		r.note("", "package %s from source %s, %s", f.Package, f.Source, f.Checksum)
	}
	var bytes int64
	for _, f := range r.files {
		bytes += f.Size
	}
	r.job.Logf(ctx, "%d packages of %d bytes are what their sources' metadata says", len(r.files), bytes)
	return nil
}

// install makes the tree.
func (r *run) install(ctx context.Context) (*tree.Root, error) {
	if err := r.step(ctx, "Installing %d packages", len(r.files)); err != nil {
		return nil, err
	}
	done := int64(0)
	err := tree.Install(ctx, tree.Spec{
		Dir: r.path("tree"), Work: r.path("work"), Packages: r.path("packages"), Files: r.files,
		Log: func(line string) {
			r.logf(ctx, "rpm: %s", line)
			done++
			r.job.Progress(ctx, "install", min(done, int64(len(r.files))), int64(len(r.files)))
		},
	})
	if err != nil {
		return nil, err
	}
	// Room for the image.
	if err := os.RemoveAll(r.path("packages")); err != nil {
		return nil, sdk.Errorf(sdk.Internal, "remove the downloaded packages: %w", err)
	}
	return tree.Open(r.path("tree"))
}

func (r *run) customize(ctx context.Context, root *tree.Root, blueprint *customize.Blueprint) error {
	if err := r.step(ctx, "Applying the customizations"); err != nil {
		return err
	}
	epoch := tree.Epoch(r.files)
	if err := root.Clean(); err != nil {
		return err
	}
	a := customize.Applier{Root: root, Epoch: epoch, Warn: func(format string, args ...any) { r.warnf(ctx, format, args...) }}
	if err := a.Apply(blueprint); err != nil {
		return err
	}
	return root.Clamp(ctx, epoch)
}

func (r *run) pack(ctx context.Context, root *tree.Root, blueprint *customize.Blueprint) error {
	if err := r.step(ctx, "Making the %s image", r.params.Kind); err != nil {
		return err
	}
	if blueprint.Kernel.Append != "" && (r.params.Kind == "tar" || r.params.Kind == "ext4-filesystem" || r.params.Kind == "oci") {
		r.warnf(ctx, "kernel.append has no effect on an image of type %s", r.params.Kind)
	}
	in := &pack.Input{
		Kind: r.params.Kind, Root: root, Epoch: tree.Epoch(r.files), Work: r.path("pack"), Out: r.image, Size: r.params.Size,
		Append: blueprint.Kernel.Append, Title: r.params.Name, Seed: r.params.Frozen, Arch: r.opts.Packages.Arch(),
		Log:  func(format string, args ...any) { r.logf(ctx, format, args...) },
		Warn: func(format string, args ...any) { r.warnf(ctx, format, args...) },
	}
	result, err := pack.Pack(ctx, in)
	if err != nil {
		return err
	}
	if result.Layer != nil && r.opts.Push {
		return r.push(ctx, in, result.Layer)
	}
	return nil
}

// push brings the image into the engine's registry, under the request's tag.
func (r *run) push(ctx context.Context, in *pack.Input, layer *sdk.Layer) error {
	if err := r.step(ctx, "Pushing the image"); err != nil {
		return err
	}
	spec := &sdk.ImageSpec{
		Base: "scratch", Arches: []string{pack.GoArch(in.Arch)}, Layers: []sdk.Layer{*layer}, OCI: true,
		Config: sdk.ImageConfig{
			Created: in.Epoch,
			Labels:  map[string]string{"org.opencontainers.image.title": r.params.Name, "org.opencontainers.image.version": r.params.Version},
		},
	}
	if in.Root.Exists("/bin/sh") {
		spec.Config.Cmd = []string{"/bin/sh"}
	}
	built, err := r.job.Build(ctx, spec)
	if err != nil {
		return err
	}
	published, err := r.job.Publish(ctx, &sdk.Publication{Image: built.Image})
	if err != nil {
		return err
	}
	r.logf(ctx, "The image is %s, %s", published.IndexImage, published.IndexImageResolved)
	return r.job.SetFields(ctx, map[string]any{compose.FieldImage: published.IndexImage})
}

// sizeOf is the size of a file, 0 if there is none.
func sizeOf(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}
