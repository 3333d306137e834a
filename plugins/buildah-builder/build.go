package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// Build makes and pushes one architecture's image.
func (b *builder) Build(ctx context.Context, spec *sdk.BuildSpec) (sdk.Digest, error) {
	target, err := image.ParseRef(spec.Repository)
	if err != nil {
		return "", err
	}
	client := image.New(image.Options{
		CacheDir: filepath.Join(spec.CacheDir, "images"),
		Access:   func(_ context.Context, name string) (sdk.Access, error) { return accessOf(spec, target, name) },
	})
	defer client.Close()
	base, err := inspectBase(ctx, client, spec)
	if err != nil {
		return "", err
	}
	// Two bytes, which every OCI registry knows as the empty document, tell
	// before the work whether the target takes anything. They also go through
	// the guard on denied networks, which buildah has not.
	if _, _, err := client.PushBytes(ctx, target.Name(), []byte("{}")); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(spec.Workspace, "buildah-")
	if err != nil {
		return "", sdk.Errorf(sdk.Internal, "buildah: %v", err)
	}
	defer os.RemoveAll(dir)
	tool, err := b.tool(spec, dir)
	if err != nil {
		return "", err
	}
	// A random name, because the same build may run twice after a crash.
	w := &work{tool: tool, spec: spec, base: base, target: target.WithTag(""), name: "iib-" + strings.ToLower(rand.Text()[:16]), dir: dir}
	defer w.clean(context.WithoutCancel(ctx))
	digest, err := w.build(ctx, client)
	if err != nil {
		return "", err
	}
	// buildah has delivered an image of another architecture before now.
	if _, err := client.Inspect(ctx, w.target.WithDigest(digest).String(), spec.Arch); err != nil {
		return "", err
	}
	return digest, nil
}

func accessOf(spec *sdk.BuildSpec, target image.Ref, name string) (sdk.Access, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return sdk.Access{}, err
	}
	if target.Name() == ref.Name() {
		return spec.PushAccess, nil
	}
	return spec.BaseAccess, nil
}

// inspectBase finds the base's image for the architecture, so that buildah need
// not choose one, and what is wrong with the base is told as precisely as by
// any other builder. It is nil for scratch.
func inspectBase(ctx context.Context, client *image.Client, spec *sdk.BuildSpec) (*image.Info, error) {
	if spec.Base == sdk.Scratch {
		return nil, nil
	}
	return client.Inspect(ctx, spec.Base, spec.Arch)
}

// work is one build.
type work struct {
	tool   *buildah
	spec   *sdk.BuildSpec
	base   *image.Info
	target image.Ref
	// name is that of the working container, and of the image in buildah's
	// own storage.
	name string
	dir  string
}

func (w *work) build(ctx context.Context, client *image.Client) (sdk.Digest, error) {
	if err := w.from(ctx); err != nil {
		return "", err
	}
	for _, layer := range w.spec.Layers {
		if err := w.add(ctx, layer); err != nil {
			return "", err
		}
	}
	if err := w.configure(ctx); err != nil {
		return "", err
	}
	if err := w.commit(ctx); err != nil {
		return "", err
	}
	return w.push(ctx, client)
}

func (w *work) from(ctx context.Context) error {
	args := []string{"from", "--quiet", "--name", w.name, "--arch", w.spec.Arch, "--os", "linux"}
	if w.base == nil {
		if err := w.tool.run(ctx, local, append(args, sdk.Scratch)...); err != nil {
			return err
		}
		return w.tool.run(ctx, local, "config", "--arch", w.spec.Arch, "--os", "linux", w.name)
	}
	reach, err := w.tool.reach(w.base.Ref, w.spec.BaseAccess)
	if err != nil {
		return err
	}
	args = append(append(args, "--pull=false"), reach...)
	return w.tool.run(ctx, remote, append(args, "docker://"+w.base.Pinned())...)
}

// add puts a layer's files into the working container, after removing what the
// layer deletes.
func (w *work) add(ctx context.Context, layer sdk.Layer) error {
	d, err := readDeletions(layer.Path)
	if err != nil {
		return err
	}
	path := layer.Path
	if !d.empty() {
		root, err := w.tool.output(ctx, "mount", w.name)
		if err != nil {
			return err
		}
		if err := d.apply(root); err != nil {
			return err
		}
		path = filepath.Join(w.dir, "layer.tar")
		if err := withoutDeletions(layer.Path, path); err != nil {
			return err
		}
		defer os.Remove(path)
	}
	return w.tool.run(ctx, local, "add", "--quiet", w.name, path, "/")
}

func (w *work) configure(ctx context.Context) error {
	c := w.spec.Config
	args := []string{"config"}
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		args = append(args, "--label", k+"="+c.Labels[k])
	}
	cmd := c.Cmd
	if len(c.Entrypoint) > 0 {
		args = append(args, "--entrypoint", jsonList(c.Entrypoint))
		if len(cmd) == 0 && w.base != nil {
			// buildah forgets the command when it is given an entrypoint.
			cmd = w.base.Config.Config.Cmd
		}
	}
	if len(cmd) > 0 {
		args = append(args, "--cmd", jsonList(cmd))
	}
	for _, port := range c.ExposedPorts {
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		args = append(args, "--port", port)
	}
	if len(w.spec.Layers) > 0 {
		args = append(args, "--created-by", w.spec.Layers[len(w.spec.Layers)-1].CreatedBy)
	}
	return w.tool.run(ctx, local, append(args, w.name)...)
}

func jsonList(list []string) string {
	data, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(data)
}

func (w *work) commit(ctx context.Context) error {
	created := w.spec.Config.Created
	if created.IsZero() && w.base != nil {
		created = w.base.Created
	}
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	format := "docker"
	if w.spec.OCI {
		format = "oci"
	}
	return w.tool.run(ctx, local, "commit", "--quiet", "--rm", "--identity-label=false", "--format", format,
		"--timestamp", strconv.FormatInt(created.Unix(), 10), w.name, "localhost/"+w.name)
}

// push sends the image under a tag of its own, since buildah cannot push by
// digest, and takes the tag away again where the registry lets it.
func (w *work) push(ctx context.Context, client *image.Client) (sdk.Digest, error) {
	reach, err := w.tool.reach(w.target, w.spec.PushAccess)
	if err != nil {
		return "", err
	}
	tagged := w.target.WithTag(w.name)
	format := "v2s2"
	if w.spec.OCI {
		format = "oci"
	}
	file := filepath.Join(w.dir, "digest")
	args := append([]string{"push", "--quiet", "--format", format, "--digestfile", file}, reach...)
	if err := w.tool.run(ctx, remote, append(args, "localhost/"+w.name, "docker://"+tagged.String())...); err != nil {
		return "", err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", sdk.Errorf(sdk.Internal, "buildah push: %v", err)
	}
	_ = client.DeleteTag(ctx, tagged.String())
	return sdk.Digest(strings.TrimSpace(string(data))), nil
}

// clean removes what a build leaves in buildah's storage, but for its base,
// which the next build wants.
func (w *work) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_ = w.tool.run(ctx, local, "rm", w.name)
	_ = w.tool.run(ctx, local, "rmi", "localhost/"+w.name)
}
