package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// lookups bounds how many related images are asked for at once.
const lookups = 8

// checkRelatedImages looks for every image that the bundles name (handlers,
// section 5.4). All that cannot be reached are reported at once.
func (a *add) checkRelatedImages(ctx context.Context) error {
	if err := a.Job.Statef(ctx, "Checking the related images of the bundles."); err != nil {
		return err
	}
	var specs []string
	for _, b := range a.bundles {
		dir, err := a.Unpack(ctx, b)
		if err != nil {
			return err
		}
		named, err := pullSpecs(dir)
		if err != nil {
			return sdk.Errorf(sdk.CodeOf(err), "bundle %s: %v", b.Spec, err)
		}
		specs = append(specs, named...)
	}
	slices.Sort(specs)
	specs = slices.Compact(specs)
	errs := make([]error, len(specs))
	var group errgroup.Group
	group.SetLimit(lookups)
	for i, spec := range specs {
		group.Go(func() error {
			_, errs[i] = a.Client.Digest(ctx, a.replaceRegistry(spec))
			return nil
		})
	}
	_ = group.Wait()
	var faults []string
	code := sdk.Unavailable
	for i, err := range errs {
		if err == nil {
			continue
		}
		faults = append(faults, fmt.Sprintf("%s (%v)", specs[i], err))
		if c := sdk.CodeOf(err); c != sdk.Unavailable {
			code = sdk.Invalid
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return sdk.Errorf(code, "%d related images of the bundles cannot be pulled: %s", len(faults), strings.Join(faults, "; "))
}

// pullSpecs are all pull specs of the CSVs in an unpacked bundle.
func pullSpecs(dir string) ([]string, error) {
	b, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	found, err := b.PullSpecs()
	if err != nil {
		return nil, err
	}
	specs := make([]string, 0, len(found))
	for _, spec := range found {
		specs = append(specs, spec.String())
	}
	return specs, nil
}

// replaceRegistry looks in another registry for users whose bundles name one
// that has the images only later.
func (a *add) replaceRegistry(spec string) string {
	registry, rest, ok := strings.Cut(spec, "/")
	if other := a.handler.RelatedImageRegistries[a.Job.User][registry]; ok && other != "" {
		return other + "/" + rest
	}
	return spec
}
