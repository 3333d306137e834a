package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Build fans an image out over its architectures and assembles the list.
func (h *jobHost) Build(ctx context.Context, spec *sdk.ImageSpec) (*sdk.BuiltImage, error) {
	builder, ok := h.lineup.Builder()
	if !ok {
		return nil, sdk.Errorf(sdk.Unavailable, "no builder is enabled: set build { builder = ... } in iib.hcl")
	}
	whole := *spec
	whole.OCI = whole.OCI || h.settings.OCI
	if whole.Repository == "" {
		whole.Repository = h.engine.Images.BuildRepository()
	}
	if err := h.checkSpec(&whole); err != nil {
		return nil, err
	}
	var base sdk.Access
	if whole.Base != sdk.Scratch {
		access, err := h.session.Access(whole.Base)
		if err != nil {
			return nil, err
		}
		base = access
	}
	push, err := h.session.Access(whole.Repository)
	if err != nil {
		return nil, err
	}
	digests := make([]sdk.Digest, len(whole.Arches))
	errs := make([]error, len(whole.Arches))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i, arch := range whole.Arches {
		wg.Go(func() {
			call, ended := h.span(ctx, "builder "+builder.Plugin, slog.String("iib.arch", arch))
			digests[i], errs[i] = builder.Build(call, &sdk.BuildSpec{
				ImageSpec: whole, Arch: arch, BaseAccess: base, PushAccess: push,
				CacheDir: h.engine.CacheDir, Workspace: h.dir,
			})
			ended(errs[i])
			if errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	if err := firstError(errs); err != nil {
		return nil, sdk.Errorf(sdk.CodeOf(err), "build with %s: %v", builder.Plugin, err)
	}
	built := &sdk.BuiltImage{Arches: make(map[string]string, len(digests))}
	arches := make(map[string]sdk.Digest, len(digests))
	for i, arch := range whole.Arches {
		arches[arch] = digests[i]
		built.Arches[arch] = string(digests[i])
	}
	built.Digest, err = h.session.PushList(ctx, whole.Repository, arches, whole.OCI)
	if err != nil {
		return nil, err
	}
	built.Image = whole.Repository + "@" + built.Digest
	h.log.line(sdk.LevelInfo, "built "+built.Image)
	return built, nil
}

// firstError prefers the fault to the cancellations that followed from it.
func firstError(errs []error) error {
	var first error
	for _, err := range errs {
		if err != nil && (first == nil || errors.Is(first, context.Canceled)) {
			first = err
		}
	}
	return first
}

func (h *jobHost) checkSpec(spec *sdk.ImageSpec) error {
	if len(spec.Arches) == 0 {
		return sdk.Errorf(sdk.Invalid, "an image needs at least one architecture")
	}
	if slices.Contains(spec.Arches, "") || len(slices.Compact(slices.Sorted(slices.Values(spec.Arches)))) != len(spec.Arches) {
		return sdk.Errorf(sdk.Invalid, "the architectures %s are not distinct names", strings.Join(spec.Arches, ", "))
	}
	if spec.Base != sdk.Scratch && !strings.Contains(spec.Base, "@sha256:") {
		return sdk.Errorf(sdk.Internal, "the base %s is not pinned by digest", spec.Base)
	}
	for _, layer := range spec.Layers {
		if !within(h.dir, layer.Path) && !within(h.engine.CacheDir, layer.Path) {
			return sdk.Errorf(sdk.Internal, "layer %s lies outside of the workspace and the cache", layer.Digest)
		}
	}
	return nil
}

func within(dir, path string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(relative)
}

// Publish moves tags under the lock of what is overwritten. The digest is
// compared under the lock, and the claim is renewed just before the tag moves,
// so that a worker that lost its request moves nothing.
func (h *jobHost) Publish(ctx context.Context, p *sdk.Publication) (published *sdk.Published, err error) {
	ctx, ended := h.span(ctx, "publish")
	defer func() { ended(err) }()
	images := h.engine.Images
	_, digest, ok := strings.Cut(p.Image, "@")
	if !ok {
		return nil, sdk.Errorf(sdk.Internal, "publish %s: the image is not pinned by digest", p.Image)
	}
	own := images.BuildTag(fmt.Sprint(h.request.ID))
	published = &sdk.Published{
		InternalCopy:         own,
		InternalCopyResolved: images.BuildRepository() + "@" + digest,
		IndexImage:           images.ReaderSpec(own),
		IndexImageResolved:   images.ReaderSpec(images.BuildRepository() + "@" + digest),
	}
	for _, spec := range append([]string{own}, buildTags(images.BuildTag, p.BuildTags)...) {
		if _, err := h.move(ctx, p.Image, spec, nil); err != nil {
			return nil, err
		}
	}
	if p.Overwrite == "" {
		return published, nil
	}
	unlock, err := h.Lock(ctx, "index "+p.Overwrite)
	if err != nil {
		return nil, err
	}
	defer unlock()
	moved, err := h.move(ctx, p.Image, p.Overwrite, func(now string) error { return h.unmoved(ctx, p, now) })
	if err != nil {
		return nil, err
	}
	h.log.line(sdk.LevelInfo, fmt.Sprintf("%s now is %s", p.Overwrite, moved))
	published.IndexImage = p.Overwrite
	published.IndexImageResolved = repository(p.Overwrite) + "@" + moved
	return published, nil
}

// move makes a tag point to an image, and records that. While the move is
// begun, nobody else moves the tag through an engine; it begins only under the
// run's claim. With check, what the tag is must be readable and to its liking.
func (h *jobHost) move(ctx context.Context, pinned, spec string, check func(now string) error) (string, error) {
	tag, err := core.TagSpec(spec)
	if err != nil {
		tag = spec // a short name that the registries' library may know how to complete
	}
	_, digest, _ := strings.Cut(pinned, "@")
	m := core.TagMove{Spec: tag, To: digest, Kind: core.MovePublish, User: h.request.User}
	var id int64
	err = h.untilFree(ctx, "tag "+tag, core.ReasonMoving, func() (err error) {
		id, err = h.engine.Store.BeginMove(ctx, m, &h.claim)
		return err
	})
	if err != nil {
		return "", err
	}
	now, err := h.now(ctx, spec, check)
	if err == nil {
		digest, err = h.session.Move(ctx, pinned, spec)
	}
	// The record is closed also if the run has ended meanwhile.
	ended := h.engine.Store.EndMove(context.WithoutCancel(ctx), id, now, err == nil)
	if err != nil {
		return "", err
	}
	return digest, ended
}

// now returns the digest of a tag, "" if it is not there.
func (h *jobHost) now(ctx context.Context, spec string, check func(string) error) (string, error) {
	digest, err := h.session.Digest(ctx, spec)
	switch {
	case sdk.CodeOf(err) == sdk.NotFound:
		digest, err = "", nil
	case err != nil && check == nil:
		// A repository that is yet to be made may look like a forbidden one, and
		// the push will tell.
		return "", nil
	case err != nil:
		return "", err
	}
	if check != nil {
		err = check(digest)
	}
	return digest, err
}

func buildTags(spec func(string) string, tags []string) []string {
	specs := make([]string, 0, len(tags))
	for _, tag := range tags {
		specs = append(specs, spec(tag))
	}
	return specs
}

// repository cuts the tag or digest off a pull spec; a registry's port stays.
func repository(spec string) string {
	if name, _, ok := strings.Cut(spec, "@"); ok {
		spec = name
	}
	if i := strings.LastIndexByte(spec, ':'); i > strings.LastIndexByte(spec, '/') {
		return spec[:i]
	}
	return spec
}
