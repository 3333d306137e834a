package index

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/tree"
	"github.com/iib-engine/iib/sdk/image/layer"
)

// seal turns the content into the parts of an image (handlers, section 2.2).
// The layers are made once, for all architectures.
func (c *Content) seal(ctx context.Context, plan *Plan) (*sdk.ImageSpec, error) {
	spec := &sdk.ImageSpec{
		Base: plan.BinaryPinned, Arches: plan.Arches,
		Config: sdk.ImageConfig{Labels: plan.labels(), Created: plan.Created},
	}
	if c.db != nil {
		// What is written must be in the file before it becomes a layer.
		if err := c.db.Close(); err != nil {
			return nil, sdk.Errorf(sdk.Unavailable, "close the database: %v", err)
		}
	}
	binaryless := plan.BinaryPinned == sdk.Scratch
	if !c.FileBased() {
		spec.Config.Labels[labelDatabase] = databasePath
		spec.Config.ExposedPorts = []string{"50051/tcp"}
		if !binaryless {
			spec.Config.Entrypoint = []string{"/bin/opm"}
			spec.Config.Cmd = []string{"registry", "serve", "--database", databasePath}
		}
		return spec, c.addDatabase(ctx, spec, databasePath)
	}
	spec.Config.Labels[labelConfigs] = configsDir
	if !binaryless {
		spec.Config.Entrypoint = []string{"/bin/opm"}
		spec.Config.Cmd = []string{"serve", configsDir, "--cache-dir=" + cacheDir}
	}
	configs, err := c.tree.Layer(ctx, c.session.stores.layers, c.layerPath("configs"), tree.LayerOptions{
		Root: configsDir, Opaque: true, CreatedBy: "iib: catalog",
	})
	if err != nil {
		return nil, err
	}
	spec.Layers = append(spec.Layers, configs)
	if err := c.addCache(ctx, spec); err != nil {
		return nil, err
	}
	if c.db != nil {
		return spec, c.addDatabase(ctx, spec, hiddenPath)
	}
	return spec, nil
}

func (c *Content) layerPath(name string) string {
	return filepath.Join(filepath.Dir(c.dbPath), name+".tar.gz")
}

// addDatabase makes the layer of the database.
func (c *Content) addDatabase(ctx context.Context, spec *sdk.ImageSpec, name string) error {
	l, err := c.session.stores.layers.Write(ctx, c.layerPath("database"), "iib: database", fileEntries(name, c.dbPath))
	if err != nil {
		return sdk.Errorf(sdk.CodeOf(err), "make the layer of the database: %v", err)
	}
	spec.Layers = append(spec.Layers, l)
	return nil
}

// fileEntries are a file of an image and the directories above it.
func fileEntries(name, source string) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		parts := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
		for i := 1; i < len(parts); i++ {
			if !yield(layer.Directory(path.Join(parts[:i]...), 0o755), nil) {
				return
			}
		}
		info, err := os.Stat(source)
		if err != nil {
			yield(layer.Entry{}, err)
			return
		}
		yield(layer.Entry{
			Name: path.Join(parts...), Mode: fs.FileMode(0o644),
			Content: []layer.Part{{Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(source) }}},
		}, nil)
	}
}

// remember keeps the content under the key of the image that it went into, so
// that the next request on that image reads nothing. A failure costs only time.
func (c *Content) remember(ctx context.Context, built *sdk.BuiltImage, plan *Plan) {
	digest, ok := built.Arches[plan.Arches[0]]
	if !ok {
		return
	}
	info, err := c.session.Client.Inspect(ctx, repository(built.Image)+"@"+digest, "")
	if err != nil {
		c.session.Job.Warnf(ctx, "the result is not kept for the next request: %v", err)
		return
	}
	if !c.FileBased() {
		c.session.stores.databases.keep(contentKey(info, databasePath), c.dbPath)
		return
	}
	if err := c.session.stores.trees.Remember(c.tree, contentKey(info, configsDir)); err != nil {
		c.session.Job.Warnf(ctx, "the result is not kept for the next request: %v", err)
	}
	hidden := contentKey(info, hiddenPath)
	if c.db != nil {
		c.session.stores.databases.keep(hidden, c.dbPath)
		return
	}
	c.session.stores.databases.setAbsent(hidden)
}
