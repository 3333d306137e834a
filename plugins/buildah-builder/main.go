// Command buildah-builder is a builder that has buildah make the images, for
// organizations that want just that tool to do it.
package main

import (
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name:    "buildah-builder",
		Doc:     "Makes images with buildah, which must be installed; needs root or user namespaces.",
		Builder: newBuilder(),
	})
}

func newBuilder() *builder { return &builder{Program: "/usr/bin/buildah"} }

// builder makes images with buildah.
type builder struct {
	Program       string `hcl:"program,optional" doc:"The path of buildah."`
	StorageDriver string `hcl:"storage_driver,optional" doc:"How buildah stores layers: overlay or vfs. Default: what buildah is configured to."`
	StorageDir    string `hcl:"storage_dir,optional" doc:"Where buildah keeps the bases that it has pulled. Default: in the engine's cache."`
}

var (
	_ sdk.Builder   = (*builder)(nil)
	_ sdk.Validator = (*builder)(nil)
)

// Validate checks the settings without looking at the disk.
func (b *builder) Validate() error {
	if !filepath.IsAbs(b.Program) {
		return sdk.FieldErrorf("program", "%q is not an absolute path", b.Program)
	}
	if b.StorageDir != "" && !filepath.IsAbs(b.StorageDir) {
		return sdk.FieldErrorf("storage_dir", "%q is not an absolute path", b.StorageDir)
	}
	switch b.StorageDriver {
	case "", "overlay", "vfs":
		return nil
	}
	return sdk.FieldErrorf("storage_driver", "%q is not a storage driver that buildah can build with; use overlay or vfs", b.StorageDriver)
}
