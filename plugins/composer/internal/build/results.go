package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/pack"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
)

// store writes the result files (contract section 11.1) and stores the
// artifacts. The image comes first, so that what says that it is finished is
// right.
func (r *run) store(ctx context.Context, finished bool) error {
	if r.results == "" {
		return nil
	}
	if finished {
		if err := r.step(ctx, "Storing the image"); err != nil {
			return err
		}
		if err := r.job.Artifact(ctx, compose.ArtifactImage, r.image); err != nil {
			return err
		}
		size := sizeOf(r.image)
		if err := r.job.SetFields(ctx, map[string]any{compose.FieldImageSize: size}); err != nil {
			return err
		}
		r.logf(ctx, "The image %s has %d bytes", r.params.ImageName, size)
		r.job.Done("The image %s is finished", r.params.ImageName)
	}
	if err := r.describe(finished); err != nil {
		return err
	}
	for _, a := range []struct {
		name, file string
		want       func(name string) bool
	}{
		{compose.ArtifactMetadata, "metadata.tar", func(name string) bool { return !isLog(name) && name != filepath.Base(r.image) }},
		{compose.ArtifactLogs, "logs.tar", isLog},
	} {
		at := r.path(a.file)
		if err := r.archive(at, a.want); err != nil {
			return sdk.Errorf(sdk.Internal, "store the results: %w", err)
		}
		if err := r.job.Artifact(ctx, a.name, at); err != nil {
			return err
		}
	}
	return nil
}

func isLog(name string) bool { return name == "logs" || strings.HasPrefix(name, "logs/") }

// describe writes the files that say what was done.
func (r *run) describe(finished bool) error {
	status := "FAILED"
	if finished {
		status = "FINISHED"
	}
	config := any(r.config())
	if r.opts.Config != nil {
		config = r.opts.Config(r.params)
	}
	type nevra struct {
		Name    string `toml:"name"`
		Epoch   int    `toml:"epoch"`
		Version string `toml:"version"`
		Release string `toml:"release"`
		Arch    string `toml:"arch"`
	}
	var deps struct {
		Packages []nevra `toml:"packages"`
	}
	for _, p := range r.packages {
		deps.Packages = append(deps.Packages, nevra(p))
	}
	times := map[string]float64{"created": seconds(r.job.Accepted), "started": seconds(r.started), "finished": seconds(time.Now())}
	for name, content := range map[string]any{
		"blueprint.toml": []byte(r.params.Blueprint), "frozen.toml": []byte(r.params.Frozen), "COMMIT": []byte(r.params.Commit), "STATUS": []byte(status),
		"deps.toml": deps, "config.toml": config, "times.toml": times,
	} {
		data, ok := content.([]byte)
		if !ok {
			var out bytes.Buffer
			if err := toml.NewEncoder(&out).Encode(content); err != nil {
				return sdk.Errorf(sdk.Internal, "write %s: %w", name, err)
			}
			data = out.Bytes()
		}
		if err := os.WriteFile(filepath.Join(r.results, name), data, 0o600); err != nil {
			return sdk.Errorf(sdk.Internal, "write %s: %w", name, err)
		}
	}
	return r.manifest()
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// config is what config.toml has if nobody knows better.
func (r *run) config() map[string]any {
	kind, _ := pack.Find(r.params.Kind, r.opts.Packages.Arch())
	args := kind.CompressArgs
	if args == nil {
		args = []string{}
	}
	return map[string]any{
		"image_name": r.params.ImageName, "image_type": r.params.Kind, "title": r.params.Name, "project": r.params.Name, "size": r.params.Size,
		"compression": kind.Compression, "compress_args": args, "extra_boot_args": "", "releasever": "", "timeout": 0,
	}
}

// manifest writes build.json, which takes the place of a kickstart file: all
// that the image was made of. Customizations are in the blueprint.
func (r *run) manifest() error {
	type item struct {
		Package  string        `json:"package"`
		NEVRA    solve.Package `json:"nevra"`
		Source   string        `json:"source"`
		Checksum string        `json:"checksum"`
		Built    time.Time     `json:"built"`
		Size     int64         `json:"size"`
	}
	items := []item{}
	for _, f := range r.files {
		items = append(items, item{f.Package.String(), f.Package, f.Source, f.Checksum, f.Built, f.Size})
	}
	type repo struct {
		Package string `json:"package"`
		Repo    string `json:"repo"`
		Ref     string `json:"ref"`
		Commit  string `json:"commit"`
	}
	repos := []repo{}
	for _, g := range r.params.Repos {
		repos = append(repos, repo{g.RPMName, g.Repo, g.Ref, g.Commit})
	}
	warnings := r.warnings
	if warnings == nil {
		warnings = []string{}
	}
	data, err := json.MarshalIndent(map[string]any{
		"uuid": r.params.UUID, "blueprint": r.params.Name, "version": r.params.Version, "commit": r.params.Commit,
		"type": r.params.Kind, "image": r.params.ImageName, "arch": r.opts.Packages.Arch(), "size": r.params.Size,
		"epoch": tree.Epoch(r.files), "packages": items, "git": repos, "warnings": warnings,
		"steps": []string{"download and check packages", "rpm --install in namespaces", "clean", "customize", "clamp times", "pack"},
	}, "", "  ")
	if err != nil {
		return sdk.Errorf(sdk.Internal, "write build.json: %w", err)
	}
	if err := os.WriteFile(filepath.Join(r.results, "build.json"), append(data, '\n'), 0o600); err != nil {
		return sdk.Errorf(sdk.Internal, "write build.json: %w", err)
	}
	return nil
}

// archive writes a tar of the result files that are wanted.
func (r *run) archive(to string, want func(name string) bool) error {
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	err = filepath.WalkDir(r.results, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.results, p)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if !want(name) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name, Mode: 0o644, ModTime: info.ModTime().Truncate(time.Second), Typeflag: tar.TypeReg, Size: info.Size()}
		switch {
		case d.IsDir():
			h.Name, h.Mode, h.Typeflag, h.Size = path.Clean(name)+"/", 0o755, tar.TypeDir, 0
		case !info.Mode().IsRegular():
			return nil
		}
		if err := w.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(w, f, h.Size)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}
