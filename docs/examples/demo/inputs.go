package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// arches are those that the request builds for.
var arches = []string{"amd64", "arm64", "ppc64le", "s390x"}

// inputs are the pull specs that the request names.
type inputs struct {
	operators int
	bundles   []string
	base      string
	index     string
}

// created is the time of every image that is made here.
var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// pushInputs makes what a release would have made: bundle images, a base image
// with a stand-in for opm, and a file-based index without operators.
func pushInputs(ctx context.Context, client *image.Client, registry, dir string) (*inputs, error) {
	layers, err := layer.Open(filepath.Join(dir, "layers"), layer.Options{})
	if err != nil {
		return nil, err
	}
	p := &pusher{client: client, layers: layers, dir: dir, registry: registry}
	in := &inputs{operators: 2}
	for operator := range in.operators {
		for _, bundle := range catalogtest.Operator(7, operator, 3) {
			spec, err := p.push(ctx, strings.ToLower(bundle.Package)+"-bundle", "v"+bundle.Version, []string{"amd64"}, bundle.Labels(), bundle.Files())
			if err != nil {
				return nil, err
			}
			in.bundles = append(in.bundles, spec)
		}
	}
	in.base, err = p.push(ctx, "operator-registry", "v4.14", arches, nil, map[string][]byte{"bin/opm": []byte("#!/bin/sh\n")})
	if err != nil {
		return nil, err
	}
	in.index, err = p.push(ctx, "index", "v4.14", arches, map[string]string{
		"operators.operatorframework.io.index.configs.v1": "/configs",
		"com.redhat.index.delivery.version":               "v4.14",
		"com.redhat.index.delivery.distribution_scope":    "prod",
	}, map[string][]byte{"configs/.indexignore": []byte("")})
	return in, err
}

// pusher makes small images out of files.
type pusher struct {
	client   *image.Client
	layers   *layer.Store
	dir      string
	registry string
	made     int
}

// push makes an image for some architectures, all with the same files, and
// returns its pull spec.
func (p *pusher) push(ctx context.Context, name, tag string, arches []string, labels map[string]string, files map[string][]byte) (string, error) {
	p.made++
	l, err := p.layers.Write(ctx, filepath.Join(p.dir, fmt.Sprintf("layer-%d", p.made)), "demo", entries(files))
	if err != nil {
		return "", err
	}
	spec := fmt.Sprintf("%s/demo/%s:%s", p.registry, name, tag)
	digests := make(map[string]sdk.Digest)
	for _, arch := range arches {
		built, err := image.Assemble(image.Assembly{
			Arch: arch, Layers: []sdk.Layer{l}, Config: sdk.ImageConfig{Labels: labels, Created: created},
		})
		if err != nil {
			return "", err
		}
		if _, err := p.client.Push(ctx, spec, built); err != nil {
			return "", err
		}
		digests[arch] = built.Digest
	}
	_, err = p.client.PutList(ctx, spec, digests, false)
	return spec, err
}

// entries are files and the directories above them, in an archive's order.
func entries(files map[string][]byte) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		seen := make(map[string]bool)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			parts := strings.Split(name, "/")
			for i := 1; i < len(parts); i++ {
				if dir := strings.Join(parts[:i], "/"); !seen[dir] {
					seen[dir] = true
					if !yield(layer.Directory(dir, 0o755), nil) {
						return
					}
				}
			}
			if !yield(layer.Entry{Name: name, Mode: 0o755, Content: []layer.Part{layer.Bytes(files[name])}}, nil) {
				return
			}
		}
	}
}
