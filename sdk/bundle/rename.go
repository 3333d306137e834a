package bundle

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// ReplaceRegistries moves images to other registries: a registry that is a key
// of the map becomes the value, which may have a path. No other part changes.
func (b *Bundle) ReplaceRegistries(registries map[string]string) error {
	specs, err := b.PullSpecs()
	if err != nil {
		return err
	}
	replacements := make(map[PullSpec]PullSpec)
	for _, s := range specs {
		if registry, ok := registries[s.Registry]; ok && s.Registry != "" {
			to := s
			to.Registry = registry
			replacements[s] = to
		}
	}
	if len(replacements) == 0 {
		return nil
	}
	return b.replace(replacements)
}

// ReplaceBundles replaces pull specs as the requester asks, keys by values,
// where the key names a bundle image; other keys are ignored, as are those
// that the bundle does not mention. An empty map changes nothing.
func (b *Bundle) ReplaceBundles(ctx context.Context, wanted map[string]string, labels LabelsFunc) error {
	if len(wanted) == 0 {
		return nil
	}
	replacements := make(map[PullSpec]PullSpec)
	for _, old := range slices.Sorted(maps.Keys(wanted)) {
		replacements[ParsePullSpec(old)] = ParsePullSpec(wanted[old])
	}
	mentioned, err := b.mentioned(replacements)
	if err != nil {
		return err
	}
	bundles, err := bundleImages(ctx, mentioned, labels)
	if err != nil {
		return err
	}
	maps.DeleteFunc(replacements, func(old, _ PullSpec) bool { return !slices.Contains(bundles, old) })
	return b.replace(replacements)
}

// mentioned returns the keys of replacements that replace would find.
func (b *Bundle) mentioned(replacements map[PullSpec]PullSpec) ([]PullSpec, error) {
	csvs, err := b.CSVs()
	if err != nil {
		return nil, err
	}
	var specs []PullSpec
	for _, c := range csvs {
		changes, err := c.changes(replacements)
		if err != nil {
			return nil, err
		}
		for n, parts := range changes {
			for _, p := range parts {
				specs = append(specs, ParsePullSpec(n.Value[p.From:p.To]))
			}
		}
	}
	slices.SortFunc(specs, func(a, b PullSpec) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(specs), nil
}

// NameFromLabels gives every image the name that the template makes of its
// labels, such as "{name}-{version}". What comes before the first slash is the
// namespace; without one there is none. Registry and tag or digest stay.
func (b *Bundle) NameFromLabels(ctx context.Context, template Template, labels LabelsFunc) error {
	specs, err := b.PullSpecs()
	if err != nil {
		return err
	}
	renamed, err := forEach(ctx, specs, func(ctx context.Context, spec string) (PullSpec, error) {
		l, err := labels(ctx, spec)
		if err != nil {
			return PullSpec{}, err
		}
		return nameFromLabels(spec, template, l)
	})
	if err != nil {
		return err
	}
	replacements := make(map[PullSpec]PullSpec, len(specs))
	for i, s := range specs {
		replacements[s] = renamed[i]
	}
	return b.replace(replacements)
}

func nameFromLabels(spec string, template Template, labels map[string]string) (PullSpec, error) {
	s := ParsePullSpec(spec)
	name, missing := template.expand(labels)
	if missing != "" {
		return PullSpec{}, sdk.Errorf(sdk.Invalid, "%s: the template %q needs the label %s, and the image has: %s",
			spec, template, missing, strings.Join(slices.Sorted(maps.Keys(labels)), ", "))
	}
	if namespace, repo, ok := strings.Cut(name, "/"); ok {
		s.Namespace, s.Repo = namespace, repo
	} else {
		s.Namespace, s.Repo = "", name
	}
	if s.Repo == "" {
		return PullSpec{}, sdk.Errorf(sdk.Invalid, "%s: the template %q makes the name %q, which has no repository",
			spec, template, name)
	}
	return s, nil
}

// Enclose moves every image to one namespace. The namespace that it had,
// unless it is the same, and all parts of its repository become one name,
// joined by glue.
func (b *Bundle) Enclose(namespace, glue string) error {
	specs, err := b.PullSpecs()
	if err != nil {
		return err
	}
	replacements := make(map[PullSpec]PullSpec, len(specs))
	for _, s := range specs {
		replacements[s] = s.enclosed(namespace, glue)
	}
	return b.replace(replacements)
}
