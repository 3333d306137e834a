package main

import (
	"context"
	"fmt"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
)

// arches are those that the request builds for.
var arches = imagetest.Arches

// inputs are the pull specs that the request names.
type inputs struct {
	operators int
	bundles   []string
	base      string
	index     string
}

// pushInputs makes what a release would have made: bundle images, a base image
// with a stand-in for opm, and a file-based index without operators.
func pushInputs(ctx context.Context, pusher *imagetest.Pusher, registry string) (*inputs, error) {
	in := &inputs{operators: 2, base: registry + "/demo/operator-registry:v4.14", index: registry + "/demo/index:v4.14"}
	for operator := range in.operators {
		for _, bundle := range catalogtest.Operator(7, operator, 3) {
			spec := fmt.Sprintf("%s/demo/%s-bundle:v%s", registry, bundle.Package, bundle.Version)
			_, err := pusher.Push(ctx, spec, imagetest.Image{Labels: bundle.Labels(), Files: bundle.Files()})
			if err != nil {
				return nil, err
			}
			in.bundles = append(in.bundles, spec)
		}
	}
	_, err := pusher.Push(ctx, in.base, imagetest.Image{Arches: arches, Files: map[string][]byte{"bin/opm": []byte("#!/bin/sh\n")}})
	if err != nil {
		return nil, err
	}
	_, err = pusher.Push(ctx, in.index, imagetest.Image{
		Arches: arches,
		Files:  map[string][]byte{"configs/.indexignore": nil},
		Labels: map[string]string{
			"operators.operatorframework.io.index.configs.v1": "/configs",
			"com.redhat.index.delivery.version":               "v4.14",
			"com.redhat.index.delivery.distribution_scope":    "prod",
		},
	})
	return in, err
}
