// Package imagetest makes small images out of files and pushes them, for
// tests, demonstrations and benchmarks.
package imagetest

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
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// Arches are the four architectures that catalogs are released for.
var Arches = []string{"amd64", "arm64", "ppc64le", "s390x"}

// Created is the time of images that name none.
var Created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Image is what to push. The same files go into every architecture.
type Image struct {
	Labels map[string]string
	Files  map[string][]byte
	// Arches are amd64 alone if empty.
	Arches  []string
	Created time.Time
	// OCI asks for OCI media types; Single for a manifest instead of a list.
	OCI    bool
	Single bool
}

// Pusher pushes images. It is for one goroutine.
type Pusher struct {
	Client *image.Client

	layers *layer.Store
	dir    string
	made   int
}

// New returns a pusher that reaches every registry over plain HTTP and keeps
// its layers in dir.
func New(dir string) (*Pusher, error) {
	layers, err := layer.Open(filepath.Join(dir, "pieces"), layer.Options{})
	if err != nil {
		return nil, err
	}
	client := image.New(image.Options{Access: func(context.Context, string) (sdk.Access, error) {
		return sdk.Access{PlainHTTP: true}, nil
	}})
	return &Pusher{Client: client, layers: layers, dir: dir}, nil
}

// Push makes an image and makes the pull spec, which has a tag, point to it. It
// returns the image's digest.
func (p *Pusher) Push(ctx context.Context, spec string, i Image) (sdk.Digest, error) {
	p.made++
	path := filepath.Join(p.dir, fmt.Sprintf("layer-%d.tar.gz", p.made))
	l, err := p.layers.Write(ctx, path, "imagetest", entries(i.Files))
	if err != nil {
		return "", err
	}
	if len(i.Arches) == 0 {
		i.Arches = Arches[:1]
	}
	if i.Created.IsZero() {
		i.Created = Created
	}
	digests := make(map[string]sdk.Digest)
	for _, arch := range i.Arches {
		built, err := image.Assemble(image.Assembly{
			Arch: arch, Layers: []sdk.Layer{l}, OCI: i.OCI,
			Config: sdk.ImageConfig{Labels: i.Labels, Created: i.Created},
		})
		if err != nil {
			return "", err
		}
		if _, err := p.Client.Push(ctx, spec, built); err != nil {
			return "", err
		}
		digests[arch] = built.Digest
	}
	if i.Single {
		ref, err := image.ParseRef(spec)
		if err != nil {
			return "", err
		}
		digest := digests[i.Arches[0]]
		return digest, p.Client.Tag(ctx, ref.WithDigest(digest).String(), ref.Tag)
	}
	list, err := p.Client.PutList(ctx, spec, digests, i.OCI)
	if err != nil {
		return "", err
	}
	return list.Digest, nil
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
