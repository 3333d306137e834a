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
	"time"

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
	if p.Image == "" {
		return h.published(ctx, p)
	}
	published, err = h.tagBuild(ctx, p.Image, p.BuildTags)
	if err != nil || p.Overwrite == "" {
		return published, err
	}
	unlock, err := h.Lock(ctx, "index "+p.Overwrite)
	if err != nil {
		return nil, err
	}
	defer unlock()
	_, base, _ := strings.Cut(p.Base, "@")
	moved, err := h.move(ctx, p.Image, p.Overwrite, base, func(now string) error { return h.unmoved(ctx, p, now) })
	if err != nil {
		return nil, err
	}
	h.log.line(sdk.LevelInfo, fmt.Sprintf("%s now is %s", p.Overwrite, moved))
	published.IndexImage = p.Overwrite
	published.IndexImageResolved = repository(p.Overwrite) + "@" + moved
	return published, nil
}

// tagBuild makes the request's own tag in the build repository, and others
// beside it, point to an image.
func (h *jobHost) tagBuild(ctx context.Context, image string, others []string) (*sdk.Published, error) {
	images := h.engine.Images
	_, digest, ok := strings.Cut(image, "@")
	if !ok {
		return nil, sdk.Errorf(sdk.Internal, "publish %s: the image is not pinned by digest", image)
	}
	own := images.BuildTag(fmt.Sprint(h.request.ID))
	for _, spec := range append([]string{own}, buildTags(images.BuildTag, others)...) {
		if _, err := h.move(ctx, image, spec, "", nil); err != nil {
			return nil, err
		}
	}
	return &sdk.Published{
		InternalCopy:         own,
		InternalCopyResolved: images.BuildRepository() + "@" + digest,
		IndexImage:           images.ReaderSpec(own),
		IndexImageResolved:   images.ReaderSpec(images.BuildRepository() + "@" + digest),
	}, nil
}

// move makes a tag point to an image, and records that. While the move is
// begun, nobody else moves the tag through an engine; it begins only under the
// run's claim. With check, what the tag is must be readable and to its liking;
// expected is what it should be, if that is known.
func (h *jobHost) move(ctx context.Context, pinned, spec, expected string, check func(now string) error) (string, error) {
	_, digest, _ := strings.Cut(pinned, "@")
	id, err := h.beginMove(ctx, spec, expected, digest)
	if err != nil {
		return "", err
	}
	now, err := h.now(ctx, spec, check)
	// The record is closed also if the run has ended meanwhile.
	end := func(made bool) error {
		return h.engine.Store.EndMove(context.WithoutCancel(ctx), id, now, made)
	}
	if err != nil {
		_ = end(false)
		return "", err
	}
	// A worker that was stopped in the middle and goes on late must not move what
	// others have moved since: it asks for its claim once more, and the registry,
	// if it can, looks at the tag.
	var late error
	when := core.MoveCondition{Was: now, Ready: func(ctx context.Context) error {
		late = h.stillHeld(ctx)
		return late
	}}
	moved, err := h.session.Move(ctx, pinned, spec, when)
	switch {
	case err == nil:
		return moved, end(true)
	case late != nil:
		_ = end(false)
	case sdk.CodeOf(err) == sdk.Conflict && ctx.Err() == nil:
		_ = end(false)
		if _, err := h.now(ctx, spec, check); err != nil {
			return "", err
		}
		return "", sdk.Errorf(sdk.Unavailable, "move tag %s: others move it too", spec)
	case ctx.Err() == nil && sdk.CodeOf(err) != sdk.Unavailable:
		_ = end(false)
	}
	// Otherwise the registry may have moved the tag and not been heard. The move
	// stays open until the claim is given up; what the tag is then tells.
	return "", err
}

// beginMove announces that the run moves a tag.
func (h *jobHost) beginMove(ctx context.Context, spec, from, to string) (id int64, err error) {
	m := core.TagMove{Spec: recordSpec(spec), From: from, To: to, Kind: core.MovePublish, User: h.request.User}
	err = h.untilFree(ctx, "tag "+m.Spec, core.ReasonMoving, func() (err error) {
		id, err = h.engine.Store.BeginMove(ctx, m, &h.claim)
		return err
	})
	return id, err
}

// recordSpec is the pull spec of a tag in the record of moves.
func recordSpec(spec string) string {
	if tag, err := core.TagSpec(spec); err == nil {
		return tag
	}
	return spec // a short name that the registries' library may know how to complete
}

// now returns the digest of a tag, "" if it is not there. Without check it is nil
// where the tag may not be read; a registry that does not answer is an error
// always, as what came of an earlier move would be lost with the next.
func (h *jobHost) now(ctx context.Context, spec string, check func(string) error) (*string, error) {
	digest, err := h.session.Digest(ctx, spec)
	switch {
	case sdk.CodeOf(err) == sdk.NotFound:
		digest = ""
	case err != nil && check == nil && sdk.CodeOf(err) != sdk.Unavailable:
		// A repository that is yet to be made may look like a forbidden one, and
		// the push will tell.
		return nil, nil
	case err != nil:
		return nil, err
	}
	if check != nil {
		err = check(digest)
		return &digest, err
	}
	return &digest, nil
}

// stillHeld renews the claim, and makes sure that this worker was not stopped
// since: what it then begins at once begins while the claim is in force.
func (h *jobHost) stillHeld(ctx context.Context) error {
	began, lease := time.Now(), h.engine.Lease
	if err := h.engine.Store.Renew(ctx, h.claim, lease); err != nil {
		return err
	}
	if time.Since(began) > lease/2 {
		return sdk.Errorf(sdk.Unavailable, "the claim on request %d took %s to renew", h.request.ID, time.Since(began).Round(time.Millisecond))
	}
	return nil
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
