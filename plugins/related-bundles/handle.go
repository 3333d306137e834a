package main

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/image"
)

// search is one run of a request.
type search struct {
	*sdk.Job
	params  request
	client  *image.Client
	tooMany int
}

// Handle lists the bundles (handlers, section 4.6). No image is built.
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	s := &search{Job: job, client: h.registries.of(job), tooMany: cmp.Or(h.MaxRelatedBundles, defaultMax)}
	if err := job.Decode(&s.params); err != nil {
		return err
	}
	parent, err := s.resolve(ctx)
	if err != nil {
		return err
	}
	if err := job.Statef(ctx, "Finding the related bundles of %s.", parent.Pinned); err != nil {
		return err
	}
	w := &walk{expand: s.related, tooMany: s.tooMany}
	specs, err := w.run(ctx, node{spec: parent.Pinned, id: string(parent.Digest), image: parent})
	if err != nil {
		return err
	}
	if err := job.Statef(ctx, "Writing the list of %d bundles.", len(specs)); err != nil {
		return err
	}
	if err := s.store(ctx, specs); err != nil {
		return err
	}
	job.Done("The related bundles were found: %d.", len(specs)-1)
	return nil
}

func (s *search) resolve(ctx context.Context) (*bundle.Image, error) {
	if err := s.Statef(ctx, "Resolving the parent bundle image."); err != nil {
		return nil, err
	}
	if bad := s.params.UnreadableAuths; len(bad) > 0 {
		return nil, sdk.FieldErrorf("registry_auths", "registry_auths: the credentials for %s are not base64 of user:password, which is how a Docker config.json has them",
			strings.Join(bad, ", "))
	}
	parent, err := bundle.ReadImage(ctx, s.client, s.params.ParentBundleImage)
	if err != nil {
		return nil, err
	}
	return parent, s.SetFields(ctx, map[string]any{"parent_bundle_image_resolved": parent.Pinned})
}

// related returns the bundles that a bundle names, as it names them once it
// went through the customizations.
func (s *search) related(ctx context.Context, n node) ([]node, error) {
	dir := filepath.Join(s.Workspace, strings.TrimPrefix(n.id, "sha256:"), "bundle")
	if err := n.image.Unpack(ctx, dir); err != nil {
		return nil, err
	}
	if s.params.Organization != "" {
		if err := s.customize(ctx, n.image, dir); err != nil {
			return nil, err
		}
	}
	unpacked, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	defer unpacked.Close()
	specs, err := unpacked.RelatedBundles(ctx, bundle.Labels(s.client))
	if err != nil {
		return nil, err
	}
	if len(specs) >= s.tooMany {
		return nil, sdk.Errorf(sdk.Invalid, "relates to %d others; at most %d are allowed", len(specs), s.tooMany-1)
	}
	s.Logf(ctx, "%s relates to %d bundles: %s", n.spec, len(specs), strings.Join(specs, ", "))
	return s.resolveAll(ctx, specs)
}

// until is the customization that the walk does itself.
const until = "related_bundles"

func (s *search) customize(ctx context.Context, img *bundle.Image, dir string) error {
	metadata, err := readMetadata(dir)
	if err != nil {
		return err
	}
	pinned, err := bundle.IsPinned(img.Labels)
	if err != nil {
		return err
	}
	return s.Customize(ctx, s.params.Organization, &sdk.Bundle{
		Dir: dir, Image: img.Pinned, Organization: s.params.Organization, Package: metadata.Package,
		Pinned: pinned, Labels: map[string]string{}, Until: until,
	})
}

func readMetadata(dir string) (bundle.Metadata, error) {
	b, err := bundle.Open(dir)
	if err != nil {
		return bundle.Metadata{}, err
	}
	defer b.Close()
	return b.Metadata()
}

// resolveAll looks up bundle images at the same time.
func (s *search) resolveAll(ctx context.Context, specs []string) ([]node, error) {
	nodes := make([]node, len(specs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, spec := range specs {
		g.Go(func() error {
			img, err := bundle.ReadImage(ctx, s.client, spec)
			if err != nil {
				return err
			}
			nodes[i] = node{spec: spec, id: string(img.Digest), image: img}
			return nil
		})
	}
	return nodes, g.Wait()
}

// store writes the result as the request's artifact.
func (s *search) store(ctx context.Context, specs []string) error {
	data, err := json.Marshal(specs)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "encode the list: %v", err)
	}
	path := filepath.Join(s.Workspace, artifact+".json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return sdk.Errorf(sdk.Internal, "write the list: %v", err)
	}
	return s.Artifact(ctx, artifact, path)
}
