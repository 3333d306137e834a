package index

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// Landing is a request on its way to a published index.
type Landing struct {
	Params *Params
	// Source is the index whose content is edited, where that is another one
	// than Params.FromIndex. That one, or none, still decides what the result
	// is for, and is what is overwritten: a merge.
	Source string
	// Planned is called once the inputs are known, before anything is edited:
	// it reports the request's own fields.
	Planned func(ctx context.Context, base *Base, plan *Plan) error
	// Edit changes the content. It is called again, on the new content, when
	// the index to overwrite was changed by another request meanwhile.
	Edit func(ctx context.Context, content *Content, plan *Plan) error
	// Built, if it is not nil, is called after the image was built and before
	// a tag moves, each time that Edit was called.
	Built func(ctx context.Context) error
	// Labels are set on the image beside those of every index.
	Labels map[string]string
}

// maxRebases bounds how often an edit is re-applied. Each time some other
// request has landed, so the bound is far above what contention gives.
const maxRebases = 100

// Land resolves, edits, builds and publishes, and reports the results. An
// index that was changed meanwhile does not fail the request: the edit is
// applied to its new content. Requests that were overtaken take turns at that,
// or they would go on overtaking each other, and all their work but one's would
// be for nothing each time.
func (s *Session) Land(ctx context.Context, l *Landing) (*sdk.Published, error) {
	var moved error
	for rebase := 0; ; rebase++ {
		published, err := s.land(ctx, l, moved)
		switch {
		case sdk.ReasonOf(err) != sdk.ReasonMoved:
			return published, err
		case rebase == maxRebases:
			return nil, sdk.Errorf(sdk.Unavailable, "index %s was changed by other requests %d times while this one was built", l.Params.FromIndex, rebase)
		}
		s.Job.Logf(ctx, "%v", err)
		if moved == nil {
			unlock, err := s.Job.Lock(ctx, "turn to change "+l.Params.FromIndex)
			if err != nil {
				return nil, err
			}
			defer unlock()
		}
		moved = err
		if err := s.Job.Statef(ctx, "The index was changed by another request: applying this one to its new content."); err != nil {
			return nil, err
		}
	}
}

// land makes one attempt. Moved is what stopped the attempt before, if there
// was one: it tells which requests changed the index meanwhile.
func (s *Session) land(ctx context.Context, l *Landing, moved error) (*sdk.Published, error) {
	base, plan, err := s.prepare(ctx, l)
	if err != nil {
		return nil, err
	}
	publication := &sdk.Publication{BuildTags: l.Params.BuildTags}
	// The server may have made it an overwrite that the parameters do not ask for.
	if over := plan.Deciding; (l.Params.Overwrite || s.Job.Overwrite) && over != nil {
		publication.Overwrite, publication.Base = over.Spec, over.Pinned
	}
	if publication.Overwrite != "" && previewOf(ctx) == nil {
		published, err := s.Job.Published(ctx, publication)
		if err != nil {
			return nil, err
		}
		if published != nil {
			s.Job.Logf(ctx, "an earlier run of this request has published %s, and died before the end", published.IndexImageResolved)
			return published, s.landed(ctx, plan, published)
		}
	}
	content, err := s.Load(ctx, base)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if err := l.Edit(ctx, content, plan); err != nil {
		if code := sdk.CodeOf(err); moved != nil && code != sdk.Unavailable && code != sdk.Internal {
			return nil, sdk.Errorf(sdk.Conflict, "%v. This request cannot be applied to what the index holds now: %v. See whether it is still wanted, and submit it again", moved, err)
		}
		return nil, err
	}
	if p := previewOf(ctx); p != nil {
		return nil, p.note(ctx, s, base, plan, content)
	}
	spec, err := content.seal(ctx, plan)
	if err != nil {
		return nil, err
	}
	maps.Copy(spec.Config.Labels, l.Labels)
	built, err := s.Job.Build(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := content.accepted(); err != nil {
		return nil, err
	}
	content.remember(ctx, built, plan)
	if l.Built != nil {
		if err := l.Built(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.Job.Statef(ctx, "Creating the manifest list and publishing %s.", built.Digest); err != nil {
		return nil, err
	}
	publication.Image = built.Image
	published, err := s.Job.Publish(ctx, publication)
	if err != nil {
		return nil, err
	}
	return published, s.landed(ctx, plan, published)
}

// landed reports what every request shows that has published an index.
func (s *Session) landed(ctx context.Context, plan *Plan, published *sdk.Published) error {
	return s.Job.SetFields(ctx, map[string]any{"arches": plan.Arches, "index_image": published.IndexImage})
}

// prepare is the step of the handlers' section 1.8. The base is the index whose
// content is edited.
func (s *Session) prepare(ctx context.Context, l *Landing) (*Base, *Plan, error) {
	if err := s.Job.Statef(ctx, "Resolving the container images."); err != nil {
		return nil, nil, err
	}
	base, plan, err := s.inputs(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	fields := plan.Fields()
	switch {
	case l.Source != "":
		fields["source_from_index_resolved"] = base.Pinned
		if plan.Deciding != nil {
			fields["target_index_resolved"] = plan.Deciding.Pinned
		}
	case base != nil:
		fields["from_index_resolved"] = base.Pinned
	}
	if err := s.Job.SetFields(ctx, fields); err != nil {
		return nil, nil, err
	}
	if l.Planned != nil {
		if err := l.Planned(ctx, base, plan); err != nil {
			return nil, nil, err
		}
	}
	return base, plan, s.Job.Statef(ctx, "Building the index image for the architectures %s.", strings.Join(plan.Arches, ", "))
}

// inputs reads what must be known of the indexes.
func (s *Session) inputs(ctx context.Context, l *Landing) (*Base, *Plan, error) {
	p := l.Params
	wish := Wish{BinaryImage: p.BinaryImage, Scope: p.DistributionScope, AddArches: p.AddArches}
	var deciding *Base
	var err error
	if p.FromIndex != "" {
		if deciding, err = s.Resolve(ctx, p.FromIndex); err != nil {
			return nil, nil, err
		}
	}
	if l.Source == "" {
		plan, err := s.Plan(ctx, wish, deciding)
		return deciding, plan, err
	}
	source, err := s.Resolve(ctx, l.Source)
	if err != nil {
		return nil, nil, err
	}
	wish.NoIndexVersion = versionNoTarget
	plan, err := s.Plan(ctx, wish, deciding, source)
	return source, plan, err
}

// Report writes back where the result can be found, for the types that show it.
func (s *Session) Report(ctx context.Context, published *sdk.Published) error {
	return s.Job.SetFields(ctx, map[string]any{
		"index_image_resolved":               published.IndexImageResolved,
		"internal_index_image_copy":          published.InternalCopy,
		"internal_index_image_copy_resolved": published.InternalCopyResolved,
	})
}

// labels are those of every index image.
func (p *Plan) labels() map[string]string {
	return map[string]string{labelVersion: p.Version, labelScope: p.Scope}
}

func (p *Plan) String() string {
	return fmt.Sprintf("%s %s on %s for %s", p.Scope, p.Version, p.BinaryPinned, strings.Join(p.Arches, ", "))
}
