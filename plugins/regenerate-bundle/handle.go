package main

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// regeneration is one run of a request.
type regeneration struct {
	*sdk.Job
	params request
	image  *bundle.Image
	// dir is where the bundle is unpacked. The file of related bundles comes
	// to lie beside it, so it has a directory of its own.
	dir string
}

// Handle regenerates the bundle (handlers, section 4.3).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	r := &regeneration{Job: job, dir: filepath.Join(job.Workspace, "regenerate", "bundle")}
	if err := job.Decode(&r.params); err != nil {
		return err
	}
	if err := r.resolve(ctx, h); err != nil {
		return err
	}
	labels, layers, err := r.change(ctx)
	if err != nil {
		return err
	}
	return r.publish(ctx, labels, layers)
}

// resolve finds the image and reports it.
func (r *regeneration) resolve(ctx context.Context, h *handler) error {
	if err := r.Statef(ctx, "Resolving the bundle image."); err != nil {
		return err
	}
	if bad := r.params.UnreadableAuths; len(bad) > 0 {
		return sdk.FieldErrorf("registry_auths", "registry_auths: the credentials for %s are not base64 of user:password, which is how a Docker config.json has them",
			strings.Join(bad, ", "))
	}
	var err error
	if r.image, err = bundle.ReadImage(ctx, h.registries.of(r.Job), r.params.FromBundleImage); err != nil {
		return err
	}
	if err := r.SetFields(ctx, map[string]any{"from_bundle_image_resolved": r.image.Pinned}); err != nil {
		return err
	}
	return r.Statef(ctx, "Regenerating the bundle image for the architectures %s.", strings.Join(r.image.Arches, ", "))
}

// change runs the customizations and returns what is to be set on top of the
// original image.
func (r *regeneration) change(ctx context.Context) (labels map[string]string, layers []sdk.Layer, err error) {
	pinned, err := bundle.IsPinned(r.image.Labels)
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Invalid, "bundle image %s: %w", r.image.Pinned, err)
	}
	if err := r.image.Unpack(ctx, r.dir); err != nil {
		return nil, nil, err
	}
	metadata, err := examine(r.dir)
	if err != nil {
		return nil, nil, err
	}
	before, err := takeSnapshot(r.dir)
	if err != nil {
		return nil, nil, err
	}
	unpacked := &sdk.Bundle{
		Dir: r.dir, Image: r.image.Pinned, Organization: r.params.Organization, Package: metadata.Package,
		Pinned: pinned, Labels: map[string]string{}, Replacements: r.params.BundleReplacements,
	}
	if err := r.Customize(ctx, r.params.Organization, unpacked); err != nil {
		return nil, nil, err
	}
	after, err := takeSnapshot(r.dir)
	if err != nil {
		return nil, nil, err
	}
	changed := after.changedSince(before)
	r.Logf(ctx, "%d files changed: %s", len(changed), strings.Join(changed, ", "))
	layers, err = writeLayer(ctx, r.Job, r.dir, changed)
	return unpacked.Labels, layers, err
}

// examine refuses a bundle that nothing useful can be made of: every manifest
// must be YAML, and the metadata must name the package.
func examine(dir string) (bundle.Metadata, error) {
	b, err := bundle.Open(dir)
	if err != nil {
		return bundle.Metadata{}, err
	}
	defer b.Close()
	if err := b.Check(); err != nil {
		return bundle.Metadata{}, err
	}
	return b.Metadata()
}

// publish builds the image for all architectures of the original.
func (r *regeneration) publish(ctx context.Context, labels map[string]string, layers []sdk.Layer) error {
	created, err := r.image.Created(ctx)
	if err != nil {
		return err
	}
	built, err := r.Build(ctx, &sdk.ImageSpec{
		Base: r.image.Pinned, Arches: r.image.Arches, Layers: layers,
		Config: sdk.ImageConfig{Labels: labels, Created: created},
	})
	if err != nil {
		return err
	}
	if err := r.Statef(ctx, "Creating the manifest list and publishing %s.", built.Digest); err != nil {
		return err
	}
	published, err := r.Publish(ctx, &sdk.Publication{Image: built.Image})
	if err != nil {
		return err
	}
	if err := r.SetFields(ctx, map[string]any{"arches": r.image.Arches, "bundle_image": published.IndexImage}); err != nil {
		return err
	}
	r.Done("The bundle image was regenerated.")
	return nil
}
