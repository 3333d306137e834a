package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/index"
)

// add is one run of an add request.
type add struct {
	*index.Session
	handler *handler
	params  *addParams

	bundles    []*index.Bundle
	deprecated []*index.Bundle
	// read are the bundles' contents by pull spec, read when first needed.
	read map[string]*catalog.Bundle
	// legacy is the export to the old application registry, or nil.
	legacy *legacy
}

// Handle adds the bundles (handlers, section 4.1).
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(addParams)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.Config.Open(job)
	if err != nil {
		return err
	}
	a := &add{Session: session, handler: h, params: p, read: make(map[string]*catalog.Bundle)}
	if err := a.resolve(ctx); err != nil {
		return err
	}
	published, err := a.Land(ctx, &index.Landing{Params: &p.Params, Planned: a.planned, Edit: a.edit, Built: a.exportLegacy})
	if err != nil {
		return err
	}
	if err := a.Report(ctx, published); err != nil {
		return err
	}
	job.Done("%s", a.outcome())
	return nil
}

// resolve finds the bundles and judges them before anything is built.
func (a *add) resolve(ctx context.Context) error {
	if err := a.Job.Statef(ctx, "Resolving the bundles."); err != nil {
		return err
	}
	var err error
	if a.bundles, err = a.Bundles(ctx, a.params.Bundles); err != nil {
		return err
	}
	if err := index.Tolerate(ctx, index.CheckLabels(a.bundles, a.handler.RequiredLabels)); err != nil {
		return err
	}
	if a.params.CheckRelatedImages {
		if err := index.Tolerate(ctx, a.checkRelatedImages(ctx)); err != nil {
			return err
		}
	}
	if err := a.Job.Gate(ctx, index.Images(a.bundles)); err != nil {
		return err
	}
	a.deprecated, err = a.Bundles(ctx, a.params.DeprecationList)
	return err
}

// planned reports which operators the bundles belong to.
func (a *add) planned(ctx context.Context, _ *index.Base, plan *index.Plan) error {
	for _, b := range a.bundles {
		plan.Newer(b.Created)
	}
	if mapping := index.Mapping(a.bundles); len(mapping) > 0 {
		if err := a.Job.SetFields(ctx, map[string]any{"bundle_mapping": mapping}); err != nil {
			return err
		}
	}
	return a.planLegacy(ctx, plan)
}

// edit adds the bundles that are not there yet, then deprecates.
func (a *add) edit(ctx context.Context, content *index.Content, plan *index.Plan) error {
	if err := a.addMissing(ctx, content, plan); err != nil {
		return err
	}
	if err := a.deprecate(ctx, content); err != nil {
		return err
	}
	return a.readLegacy(ctx, content)
}

func (a *add) deprecate(ctx context.Context, content *index.Content) error {
	if len(a.deprecated) == 0 {
		return nil
	}
	if err := a.Job.Statef(ctx, "Deprecating bundles."); err != nil {
		return err
	}
	done, err := content.Deprecate(ctx, a.deprecated)
	if err != nil {
		return err
	}
	if len(done) == 0 {
		a.Job.Warnf(ctx, "none of the bundles to deprecate is in the index")
	}
	for _, spec := range done {
		a.Job.Logf(ctx, "deprecated %s", spec)
	}
	return nil
}

func (a *add) addMissing(ctx context.Context, content *index.Content, plan *index.Plan) error {
	if len(a.bundles) == 0 {
		return nil
	}
	if a.params.FromIndex != "" {
		if err := a.Job.Statef(ctx, "Checking which bundles are in the index already."); err != nil {
			return err
		}
	}
	bundles, err := a.contents(ctx, a.bundles)
	if err != nil {
		return err
	}
	var packages []string
	for _, b := range bundles {
		packages = append(packages, b.Package)
	}
	present, err := content.Images(ctx, packages)
	if err != nil {
		return err
	}
	missing := a.Missing(ctx, a.bundles, present)
	if len(missing) == 0 {
		return nil
	}
	if bundles, err = a.contents(ctx, missing); err != nil {
		return err
	}
	if err := a.Job.Statef(ctx, "Adding %d bundles to the index.", len(missing)); err != nil {
		return err
	}
	names, err := content.Add(ctx, bundles, catalog.AddOptions{
		Mode:            catalog.Mode(a.params.GraphUpdateMode),
		OverwriteLatest: plan.Scope != "prod",
	})
	if err != nil {
		return err
	}
	a.Job.Logf(ctx, "added %d bundles to the packages %s", len(bundles), strings.Join(names, ", "))
	return nil
}

// contents reads bundles; what was read for an earlier attempt is not read again.
func (a *add) contents(ctx context.Context, bundles []*index.Bundle) ([]*catalog.Bundle, error) {
	var unread []*index.Bundle
	for _, b := range bundles {
		if a.read[b.Pinned] == nil {
			unread = append(unread, b)
		}
	}
	read, err := a.Read(ctx, unread)
	if err != nil {
		return nil, err
	}
	for i, b := range unread {
		a.read[b.Pinned] = read[i]
	}
	all := make([]*catalog.Bundle, 0, len(bundles))
	for _, b := range bundles {
		all = append(all, a.read[b.Pinned])
	}
	return all, nil
}

// outcome is the reason of the complete state.
func (a *add) outcome() string {
	if len(a.params.Bundles) == 0 {
		return "The index image was rebuilt without new bundles."
	}
	return fmt.Sprintf("The bundles were added to the index image: %s.", strings.Join(a.params.Bundles, ", "))
}

// Preview tells what the request would change.
func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	return index.Preview(ctx, job, h.Handle)
}
