package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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
			digests[i], errs[i] = builder.Build(ctx, &sdk.BuildSpec{
				ImageSpec: whole, Arch: arch, BaseAccess: base, PushAccess: push,
				CacheDir: h.engine.CacheDir, Workspace: h.dir,
			})
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
func (h *jobHost) Publish(ctx context.Context, p *sdk.Publication) (*sdk.Published, error) {
	images := h.engine.Images
	_, digest, ok := strings.Cut(p.Image, "@")
	if !ok {
		return nil, sdk.Errorf(sdk.Internal, "publish %s: the image is not pinned by digest", p.Image)
	}
	own := images.BuildTag(fmt.Sprint(h.request.ID))
	published := &sdk.Published{
		InternalCopy:         own,
		InternalCopyResolved: images.BuildRepository() + "@" + digest,
		IndexImage:           images.ReaderSpec(own),
		IndexImageResolved:   images.ReaderSpec(images.BuildRepository() + "@" + digest),
	}
	for _, spec := range append([]string{own}, buildTags(images.BuildTag, p.BuildTags)...) {
		if err := h.move(ctx, p.Image, spec); err != nil {
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
	if err := h.unmoved(ctx, p); err != nil {
		return nil, err
	}
	if err := h.engine.Store.Renew(ctx, h.claim, h.engine.Lease); err != nil {
		return nil, err
	}
	moved, err := h.session.Move(ctx, p.Image, p.Overwrite)
	if err != nil {
		return nil, err
	}
	h.log.line(sdk.LevelInfo, fmt.Sprintf("%s now is %s", p.Overwrite, moved))
	published.IndexImage = p.Overwrite
	published.IndexImageResolved = repository(p.Overwrite) + "@" + moved
	return published, nil
}

// unmoved checks that the index is still the one that the edit started from.
// An index that already is the new image was moved by an earlier attempt of
// this request, or by an equal one: moving it again changes nothing.
func (h *jobHost) unmoved(ctx context.Context, p *sdk.Publication) error {
	now, err := h.session.Digest(ctx, p.Overwrite)
	if sdk.CodeOf(err) == sdk.NotFound {
		now, err = "", nil
	}
	if err != nil {
		return err
	}
	_, base, _ := strings.Cut(p.Base, "@")
	if _, image, _ := strings.Cut(p.Image, "@"); now == base || now == image {
		return nil
	}
	return sdk.Moved("%s was changed by another request while this one was built: it was %s and is %s",
		p.Overwrite, orNone(base), orNone(now))
}

func (h *jobHost) move(ctx context.Context, pinned, spec string) error {
	if err := h.engine.Store.Renew(ctx, h.claim, h.engine.Lease); err != nil {
		return err
	}
	_, err := h.session.Move(ctx, pinned, spec)
	return err
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

func orNone(digest string) string {
	if digest == "" {
		return "absent"
	}
	return digest
}
