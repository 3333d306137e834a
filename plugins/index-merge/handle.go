package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/index"
)

// merge is one run of a merge request.
type merge struct {
	*index.Session
	handler *handler
	params  *mergeParams

	version catalog.OpenShiftVersion
	listed  []*index.Bundle
	// images are the bundle images by pull spec, and read their contents:
	// both are kept for another attempt on a target that was changed.
	images map[string]*index.Bundle
	read   map[string]*catalog.Bundle

	added, deprecated int
}

// Handle merges the indexes (handlers, section 4.4).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(mergeParams)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.Config.Open(job)
	if err != nil {
		return err
	}
	m := &merge{
		Session: session, handler: h, params: p,
		images: make(map[string]*index.Bundle), read: make(map[string]*catalog.Bundle),
	}
	_, err = m.Land(ctx, &index.Landing{
		Params: &index.Params{
			FromIndex: p.Target, BinaryImage: p.BinaryImage, DistributionScope: p.DistributionScope,
			Overwrite: p.Overwrite, BuildTags: p.BuildTags,
		},
		Source:  p.Source,
		Planned: m.planned,
		Edit:    m.edit,
	})
	if err != nil {
		return err
	}
	job.Done("The index image was merged: bundles added: %d, deprecated: %d.", m.added, m.deprecated)
	return nil
}

// planned refuses what cannot be merged before anything is read.
func (m *merge) planned(ctx context.Context, source *index.Base, plan *index.Plan) error {
	target := plan.Deciding
	if target != nil && source.FileBased() && !target.FileBased() {
		return sdk.FieldErrorf("target_index", "index %s is file-based and index %s is a SQLite one: a file-based index can be merged into a file-based one only", source.Spec, target.Spec)
	}
	var err error
	if m.version, err = catalog.ParseOpenShiftVersion(plan.Version); err != nil {
		return sdk.FieldErrorf("target_index", "index %s: its version label: %v", m.params.Target, err)
	}
	if m.listed == nil {
		m.listed, err = m.Bundles(ctx, m.params.DeprecationList)
	}
	return err
}

// edit makes the source's content that of the merged index.
func (m *merge) edit(ctx context.Context, content *index.Content, plan *index.Plan) error {
	m.added, m.deprecated = 0, 0
	if err := m.Job.Statef(ctx, "Getting the bundles of the indexes."); err != nil {
		return err
	}
	refs, missing, err := m.join(ctx, content, plan.Deciding)
	if err != nil {
		return err
	}
	if err := m.inspect(ctx, append(specsOf(refs), specsOf(missing)...)); err != nil {
		return err
	}
	if missing, err = m.add(ctx, content, plan, missing); err != nil {
		return err
	}
	return m.deprecate(ctx, content, append(refs, missing...))
}

// join makes the content of the target's kind, takes over the operators that
// opted in there, and returns the bundles that can be judged: those of the
// content, and those that only the target has. Operators that opted in to
// file-based catalogs are their owners' business, here and there.
func (m *merge) join(ctx context.Context, content *index.Content, target *index.Base) (refs, missing []catalog.BundleRef, err error) {
	optedIn, err := content.OptedIn(ctx)
	if err != nil {
		return nil, nil, err
	}
	apart := set(optedIn)
	var others []catalog.BundleRef
	if target != nil {
		other, err := m.Load(ctx, target)
		if err != nil {
			return nil, nil, err
		}
		defer other.Close()
		if others, err = m.takeOver(ctx, content, other, apart); err != nil {
			return nil, nil, err
		}
		if err := needDigests(target.Spec, others); err != nil {
			return nil, nil, err
		}
	}
	if refs, err = content.Refs(ctx, apart); err != nil {
		return nil, nil, err
	}
	if err := needDigests(m.params.Source, refs); err != nil {
		return nil, nil, err
	}
	gone, err := content.Deprecated(ctx)
	if err != nil {
		return nil, nil, err
	}
	return refs, missingOf(refs, set(gone), others), nil
}

// takeOver is the target's part of join: it returns the target's bundles that
// can be judged, and adds to apart the operators that opted in there.
func (m *merge) takeOver(ctx context.Context, content, other *index.Content, apart map[string]bool) ([]catalog.BundleRef, error) {
	if other.FileBased() {
		if err := content.ToFiles(ctx); err != nil {
			return nil, err
		}
	}
	optedIn, err := other.OptedIn(ctx)
	if err != nil {
		return nil, err
	}
	if len(optedIn) > 0 {
		if err := content.AdoptFrom(ctx, other, optedIn); err != nil {
			return nil, err
		}
		m.Job.Logf(ctx, "kept the file-based catalogs of the target's packages %s", strings.Join(optedIn, ", "))
	}
	for _, name := range optedIn {
		delete(apart, name)
	}
	all, err := other.Refs(ctx, set(optedIn))
	if err != nil {
		return nil, err
	}
	var refs []catalog.BundleRef
	left := make(map[string]bool)
	for _, ref := range all {
		if !apart[ref.Package] {
			refs = append(refs, ref)
			continue
		}
		left[ref.Package] = true
	}
	if len(left) > 0 {
		m.Job.Logf(ctx, "the packages %s have a file-based catalog of their own in the source: it is kept as it is", strings.Join(slices.Sorted(maps.Keys(left)), ", "))
	}
	maps.Copy(apart, set(optedIn))
	return refs, nil
}

// inspect reads the labels of bundle images, each once.
func (m *merge) inspect(ctx context.Context, specs []string) error {
	slices.Sort(specs)
	specs = slices.DeleteFunc(slices.Compact(specs), func(spec string) bool { return m.images[spec] != nil })
	bundles, err := m.Bundles(ctx, specs)
	if err != nil {
		return err
	}
	for _, b := range bundles {
		m.images[b.Spec] = b
	}
	return nil
}

// add puts the missing bundles into the content, and returns them as their
// images describe them.
func (m *merge) add(ctx context.Context, content *index.Content, plan *index.Plan, missing []catalog.BundleRef) ([]catalog.BundleRef, error) {
	if len(missing) == 0 {
		return nil, nil
	}
	if err := m.Job.Statef(ctx, "Adding %d bundles that are missing in the source index.", len(missing)); err != nil {
		return nil, err
	}
	bundles, err := m.contents(ctx, missing)
	if err != nil {
		return nil, err
	}
	refs := make([]catalog.BundleRef, 0, len(missing))
	for i, b := range bundles {
		image := m.images[missing[i].Image]
		plan.Newer(image.Created)
		m.images[b.Image] = image
		refs = append(refs, catalog.BundleRef{Package: b.Package, Name: b.Name, Version: b.Version, Image: b.Image})
	}
	packages, err := content.Add(ctx, bundles, catalog.AddOptions{Mode: catalog.Mode(m.params.GraphUpdateMode)})
	if err != nil {
		return nil, err
	}
	m.added = len(bundles)
	m.Job.Logf(ctx, "added %d bundles to the packages %s", len(bundles), strings.Join(packages, ", "))
	return refs, nil
}

func (m *merge) contents(ctx context.Context, refs []catalog.BundleRef) ([]*catalog.Bundle, error) {
	// An image goes by several pull specs: that of a list is another one than that
	// of the image that it was resolved to.
	var unread []*index.Bundle
	var specs []string
	for _, ref := range refs {
		if m.read[ref.Image] == nil {
			unread, specs = append(unread, m.images[ref.Image]), append(specs, ref.Image)
		}
	}
	read, err := m.Read(ctx, unread)
	if err != nil {
		return nil, err
	}
	for i, spec := range specs {
		m.read[spec] = read[i]
	}
	bundles := make([]*catalog.Bundle, 0, len(refs))
	for _, ref := range refs {
		bundles = append(bundles, m.read[ref.Image])
	}
	return bundles, nil
}

// deprecate cuts the upgrade graphs off below the listed bundles and those
// that are not for the target's version. They were added all the same: the
// graphs may lead through them.
func (m *merge) deprecate(ctx context.Context, content *index.Content, refs []catalog.BundleRef) error {
	listed := m.findListed(ctx, refs)
	invalid := m.invalid(ctx, refs)
	chosen := highest(append(listed, invalid...))
	if len(chosen) == 0 {
		return nil
	}
	if err := m.Job.Statef(ctx, "Deprecating bundles."); err != nil {
		return err
	}
	byPackage := make(map[string][]string, len(chosen))
	for _, ref := range chosen {
		byPackage[ref.Package] = []string{ref.Image}
		m.Job.Logf(ctx, "deprecating %s, and what it replaces", ref.Image)
	}
	m.deprecated = len(chosen)
	return content.DeprecateImages(ctx, byPackage)
}

// findListed returns those of the deprecation list that the index has.
func (m *merge) findListed(ctx context.Context, refs []catalog.BundleRef) []catalog.BundleRef {
	bySpec := make(map[string]catalog.BundleRef, len(refs))
	byDigest := make(map[string]catalog.BundleRef, len(refs))
	for _, ref := range refs {
		bySpec[ref.Image], byDigest[digestOf(ref.Image)] = ref, ref
	}
	var found []catalog.BundleRef
	for _, b := range m.listed {
		if ref, ok := bySpec[b.Pinned]; ok {
			found = append(found, ref)
			continue
		}
		if other, ok := byDigest[digestOf(b.Pinned)]; ok {
			m.Job.Warnf(ctx, "bundle %s is not deprecated: the index has it as %s only", b.Pinned, other.Image)
			continue
		}
		m.Job.Warnf(ctx, "bundle %s is not deprecated: the index does not have it", b.Pinned)
	}
	return found
}

// invalid returns the bundles that are not for the target's version.
func (m *merge) invalid(ctx context.Context, refs []catalog.BundleRef) []catalog.BundleRef {
	tolerant := m.params.IgnoreBundleOCPVersion != nil && *m.params.IgnoreBundleOCPVersion &&
		exempt(m.handler.NoOCPLabel, m.Job.User, m.params.Target, m.params.Source)
	var invalid []catalog.BundleRef
	for _, ref := range refs {
		if err := admits(m.images[ref.Image].Labels[labelOpenShift], m.version, tolerant); err != nil {
			m.Job.Warnf(ctx, "bundle %s is to be deprecated: %v", ref.Image, err)
			invalid = append(invalid, ref)
		}
	}
	return invalid
}

func specsOf(refs []catalog.BundleRef) []string {
	specs := make([]string, 0, len(refs))
	for _, ref := range refs {
		specs = append(specs, ref.Image)
	}
	return specs
}

func set(list []string) map[string]bool {
	in := make(map[string]bool, len(list))
	for _, name := range list {
		in[name] = true
	}
	return in
}

// Preview tells what the request would change.
func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	return index.Preview(ctx, job, h.Handle)
}
