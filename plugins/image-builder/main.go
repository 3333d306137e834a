// Command image-builder is the default builder: it makes an architecture's
// image by putting layers on top of a base, without a container runtime and
// without root.
package main

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:    "image-builder",
		Doc:     "Makes images by putting layers on top of a base; needs no container runtime and no root.",
		Builder: new(builder),
	})
}

// builder makes images. One client serves all builds, so that the layers that
// the architectures of an image share are pushed once.
type builder struct {
	mu      sync.Mutex
	clients map[string]*image.Client
}

var _ sdk.Builder = (*builder)(nil)

// Build assembles and pushes one architecture's image by digest.
func (b *builder) Build(ctx context.Context, spec *sdk.BuildSpec) (sdk.Digest, error) {
	client := b.client(spec.CacheDir).WithAccess(func(_ context.Context, name string) (sdk.Access, error) {
		return accessOf(spec, name)
	})
	var base *image.Info
	if spec.Base != sdk.Scratch {
		var err error
		if base, err = client.Inspect(ctx, spec.Base, spec.Arch); err != nil {
			return "", err
		}
	}
	built, err := image.Assemble(image.Assembly{
		Base: base, Arch: spec.Arch, Layers: spec.Layers, Config: spec.Config, OCI: spec.OCI,
	})
	if err != nil {
		return "", err
	}
	if _, err := client.Push(ctx, spec.Repository, built); err != nil {
		return "", err
	}
	return built.Digest, nil
}

// accessOf tells how to reach the two repositories of a build; no other is
// asked for.
func accessOf(spec *sdk.BuildSpec, name string) (sdk.Access, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return sdk.Access{}, err
	}
	if target, err := image.ParseRef(spec.Repository); err == nil && target.Name() == ref.Name() {
		return spec.PushAccess, nil
	}
	return spec.BaseAccess, nil
}

// client returns the client of a cache directory, which is always the same one
// in one engine.
func (b *builder) client(cacheDir string) *image.Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.clients[cacheDir]
	if !ok {
		if b.clients == nil {
			b.clients = make(map[string]*image.Client)
		}
		c = image.New(image.Options{CacheDir: filepath.Join(cacheDir, "images")})
		b.clients[cacheDir] = c
	}
	return c
}
