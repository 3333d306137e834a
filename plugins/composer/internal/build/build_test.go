package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/pack"
	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

func TestMain(m *testing.M) { rpmtest.Main(m) }

// bench composes from one repository.
type bench struct {
	solver  *dnf.Solver
	sources []solve.Source
}

func newBench(t *testing.T, dir string) *bench {
	t.Helper()
	real.Need(t, "python3-dnf", "rpm")
	real.Root(t)
	solver, err := dnf.New(dnf.Options{CacheDir: t.TempDir(), Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{solver, []solve.Source{{ID: "seed", Name: "seed", Type: solve.BaseURL, URL: rpmtest.Serve(t, dir).URL}}}
}

// params are those that an acceptance would make.
func (b *bench) params(t *testing.T, kind string, packages ...string) *compose.Params {
	t.Helper()
	typ, ok := pack.Find(kind, "x86_64")
	if !ok {
		t.Fatalf("there is no type %s", kind)
	}
	var wishes solve.Wishes
	for _, p := range packages {
		wishes.Packages = append(wishes.Packages, solve.Want{Name: p, Version: "*"})
	}
	solution, err := b.solver.Solve(t.Context(), b.sources, wishes, false)
	if err != nil {
		t.Fatal(err)
	}
	return &compose.Params{
		UUID: "0b1c2d3e-0000-4000-8000-000000000001", Name: "web", Version: "1.2.3", Commit: strings.Repeat("c", 40),
		Blueprint: "name = \"web\"\n", Frozen: "name = \"web\"\nversion = \"1.2.3\"\n",
		Kind: kind, ImageName: typ.ImageName, Packages: solution.Packages, Sources: b.sources,
	}
}

func (b *bench) builder() *Builder {
	return New(Options{Packages: b.solver, TestTime: 10 * time.Millisecond})
}

// compose runs a compose.
func (b *bench) compose(t *testing.T, ctx context.Context, params *compose.Params) (sdktest.Record, *sdk.Job, error) {
	t.Helper()
	recorder := &sdktest.Recorder{}
	job := sdktest.NewJob(t, sdktest.Request(compose.Type, params), recorder)
	err := b.builder().Run(ctx, job, params)
	if left, e := os.ReadDir(job.Workspace); e != nil || len(left) > 0 {
		t.Errorf("left in the workspace: %v, %v", left, e)
	}
	return recorder.Record(), job, err
}

// members reads a tar.
func members(t *testing.T, content []byte) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for in := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := in.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(h.Name, "/")] = string(data)
	}
}

func tool(t *testing.T, program string, args ...string) string {
	t.Helper()
	real.Need(t, program)
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// open returns a reader of the files in an image.
func open(t *testing.T, kind, image string) func(name string) string {
	t.Helper()
	dir := t.TempDir()
	ext4 := func(file string) func(string) string {
		tool(t, "fsck.ext4", "-f", "-n", file)
		return func(name string) string { return tool(t, "debugfs", "-R", "cat "+name, file) }
	}
	disk := func(raw string) func(string) string {
		if !strings.Contains(tool(t, "sfdisk", "-d", raw), "label: dos") {
			t.Error("the disk has no partition table")
		}
		part := filepath.Join(dir, "part.img")
		tool(t, "dd", "if="+raw, "of="+part, "bs=1M", "skip=1", "conv=sparse", "status=none")
		return ext4(part)
	}
	archive := func(content []byte) func(string) string {
		files := members(t, content)
		return func(name string) string {
			content, ok := files[strings.TrimPrefix(name, "/")]
			if !ok {
				t.Errorf("%s is not in the image", name)
			}
			return content
		}
	}
	switch kind {
	case "tar", "liveimg-tar":
		return archive([]byte(tool(t, "xz", "-dc", image)))
	case "oci":
		tool(t, "skopeo", "inspect", "oci-archive:"+image)
		content, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		for name, blob := range members(t, content) {
			if z, err := gzip.NewReader(strings.NewReader(blob)); err == nil && strings.HasPrefix(name, "blobs/") {
				layer, err := io.ReadAll(z)
				if err != nil {
					t.Fatal(err)
				}
				return archive(layer)
			}
		}
		t.Fatal("the archive has no layer")
	case "ext4-filesystem":
		return ext4(image)
	case "partitioned-disk", "ami":
		return disk(image)
	case "google":
		tool(t, "tar", "-xSzf", image, "-C", dir)
		return disk(dir + "/disk.raw")
	case "live-iso":
		tool(t, "xorriso", "-osirrox", "on", "-indev", image, "-extract", "/LiveOS/squashfs.img", dir+"/squashfs.img")
		return func(name string) string { return tool(t, "unsquashfs", "-cat", dir+"/squashfs.img", name) }
	}
	format := map[string]string{"vhd": "vpc", "vmdk": "vmdk", "hyper-v": "vhdx"}[kind]
	if format == "" {
		format = "qcow2"
	}
	if kind != "vhd" {
		tool(t, "qemu-img", "check", "-f", format, image)
	}
	tool(t, "qemu-img", "convert", "-f", format, "-O", "raw", image, dir+"/disk.raw")
	return disk(dir + "/disk.raw")
}

var customizations = map[string]any{
	"hostname": "composed",
	"user":     []any{map[string]any{"name": "ann", "key": "ssh-ed25519 AAAA ann", "uid": 1500}},
	"kernel":   map[string]any{"append": "console=ttyS0"},
	"services": map[string]any{"enabled": []any{"chronyd"}},
}

// Every type, from the same blueprint, opened again.
func TestTypes(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	real.Need(t, "qemu-img", "mkfs.ext4", "sfdisk", "xorriso", "mksquashfs", "skopeo", "xz")
	for _, kind := range pack.Types("x86_64") {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			params := b.params(t, kind.Name, "hello", "chrony", "kernel", "tzdata")
			params.Customizations = customizations
			record, _, err := b.compose(t, t.Context(), params)
			if err != nil {
				t.Fatalf("%v\n%s", err, record.Text())
			}
			image := filepath.Join(t.TempDir(), kind.ImageName)
			if err := os.WriteFile(image, record.Artifacts[compose.ArtifactImage], 0o600); err != nil {
				t.Fatal(err)
			}
			var size int64
			if err := record.Field(compose.FieldImageSize, &size); err != nil || size != int64(len(record.Artifacts[compose.ArtifactImage])) {
				t.Errorf("image_size %d, %v", size, err)
			}
			read := open(t, kind.Name, image)
			for name, want := range map[string]string{
				"/etc/hostname": "composed\n", "/usr/bin/hello": "hello 2.0", "/etc/passwd": "ann:x:1500:1500::/home/ann:",
				"/home/ann/.ssh/authorized_keys": "ssh-ed25519 AAAA ann\n", "/etc/locale.conf": "LANG=en_US.UTF-8\n", "/var/lib/rpm/rpmdb.sqlite": "SQLite",
			} {
				if got := read(name); !strings.Contains(got, want) {
					t.Errorf("%s: %.200q, want %q", name, got, want)
				}
			}
			if got := read("/etc/machine-id"); got != "" {
				t.Errorf("/etc/machine-id: %q", got)
			}
			if kind.Disk && kind.Bootable {
				if got := read("/boot/extlinux/extlinux.conf"); !strings.Contains(got, " ro console=ttyS0\n") {
					t.Errorf("boot configuration: %s", got)
				}
			}
		})
	}
}

// A blueprint may name nothing, and its image is valid all the same.
func TestEmptyBlueprint(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	for _, kind := range []string{"tar", "oci", "ext4-filesystem", "qcow2", "vmdk", "live-iso"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			params := b.params(t, kind)
			params.Customizations = map[string]any{"hostname": "empty"}
			record, _, err := b.compose(t, t.Context(), params)
			if err != nil {
				t.Fatalf("%v\n%s", err, record.Text())
			}
			typ, _ := pack.Find(kind, "x86_64")
			image := filepath.Join(t.TempDir(), typ.ImageName)
			if err := os.WriteFile(image, record.Artifacts[compose.ArtifactImage], 0o600); err != nil {
				t.Fatal(err)
			}
			if got := open(t, kind, image)("/etc/hostname"); got != "empty\n" {
				t.Errorf("/etc/hostname: %q", got)
			}
		})
	}
}

// The result files that must exist (contract section 11.1).
func TestResults(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	params := b.params(t, "tar", "hello", "app")
	params.Customizations = map[string]any{"user": []any{map[string]any{"name": "ann", "password": "not to be logged"}}, "kernel": map[string]any{"append": "x"}, "strange": 1}
	record, job, err := b.compose(t, t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Downloading 5 packages", "Installing 5 packages", "Applying the customizations", "Making the tar image", "Storing the image"}
	if !slices.Equal(record.States, want) || job.Outcome() != "The image root.tar.xz is finished" {
		t.Errorf("states: %q, %q", record.States, job.Outcome())
	}
	files := members(t, record.Artifacts[compose.ArtifactMetadata])
	names := slices.Sorted(keys(files))
	if !slices.Equal(names, []string{"COMMIT", "STATUS", "blueprint.toml", "build.json", "config.toml", "deps.toml", "frozen.toml", "times.toml"}) {
		t.Errorf("metadata: %q", names)
	}
	if files["COMMIT"] != params.Commit || files["blueprint.toml"] != params.Blueprint || files["frozen.toml"] != params.Frozen || files["STATUS"] != "FINISHED" {
		t.Errorf("metadata: %q", files)
	}
	var deps struct{ Packages []solve.Package }
	if _, err := toml.Decode(files["deps.toml"], &deps); err != nil || !slices.Equal(deps.Packages, params.Packages) {
		t.Errorf("deps.toml: %s, %v", files["deps.toml"], err)
	}
	var config map[string]any
	if _, err := toml.Decode(files["config.toml"], &config); err != nil || config["image_name"] != "root.tar.xz" || config["compression"] != "xz" {
		t.Errorf("config.toml: %s, %v", files["config.toml"], err)
	}
	var times map[string]float64
	if _, err := toml.Decode(files["times.toml"], &times); err != nil || times["created"] != float64(job.Accepted.Unix()) || times["started"] > times["finished"] || times["started"] == 0 {
		t.Errorf("times.toml: %s, %v", files["times.toml"], err)
	}
	var built struct {
		Packages []struct{ Package, Source, Checksum string }
	}
	if err := json.Unmarshal([]byte(files["build.json"]), &built); err != nil || len(built.Packages) != 5 || built.Packages[0].Source != "seed" || !strings.HasPrefix(built.Packages[0].Checksum, "sha256:") {
		t.Errorf("build.json: %s, %v", files["build.json"], err)
	}
	logs := members(t, record.Artifacts[compose.ArtifactLogs])
	for _, part := range []string{"rpm: hello-2.0-1.x86_64", "WARNING: kernel.append has no effect", "WARNING: customizations.strange", "package app-7-1.noarch from source seed, sha256:"} {
		if !strings.Contains(logs["logs/compose.log"], part) {
			t.Errorf("the log lacks %q:\n%s", part, logs["logs/compose.log"])
		}
	}
	if strings.Contains(logs["logs/compose.log"]+record.Text()+files["build.json"], "not to be logged") {
		t.Error("the log has a password")
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestImagesAreReproducible(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	for _, kind := range []string{"tar", "oci"} {
		var images [2][]byte
		for i := range images {
			params := b.params(t, kind, "app", "sshd", "hello")
			params.Customizations = customizations
			params.Customizations = map[string]any{"hostname": "same", "user": []any{map[string]any{"name": "ann", "password": "$6$a$b"}}}
			record, _, err := b.compose(t, t.Context(), params)
			if err != nil {
				t.Fatal(err)
			}
			images[i] = record.Artifacts[compose.ArtifactImage]
		}
		if len(images[0]) == 0 || !bytes.Equal(images[0], images[1]) {
			t.Errorf("two composes of type %s differ", kind)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	for _, c := range []struct {
		name   string
		change func(*compose.Params)
		code   sdk.Code
		err    string
	}{
		{"an unknown unit", func(p *compose.Params) {
			p.Customizations = map[string]any{"services": map[string]any{"enabled": []any{"nosuch"}}}
		}, sdk.Invalid, "customizations.services: there is no unit nosuch.service"},
		{"a user above the tree", func(p *compose.Params) {
			p.Customizations = map[string]any{"user": []any{map[string]any{"name": "eve", "home": "/../.."}}}
		}, sdk.Invalid, `customizations.user: home "/../.."`},
		{"a package that is gone", func(p *compose.Params) { p.Packages[0].Release = "99" }, sdk.Invalid, "no source has these packages any more"},
		{"a scriptlet that refuses", func(p *compose.Params) {
			p.Packages = b.params(t, "tar", "failing").Packages
		}, sdk.Invalid, "the scriptlet refuses"},
		{"a source that is down", func(p *compose.Params) {
			p.Sources = []solve.Source{{ID: "down", Type: solve.BaseURL, URL: "http://127.0.0.1:1/"}}
		}, sdk.Unavailable, "down"},
		{"an image that would be elsewhere", func(p *compose.Params) { p.ImageName = "../image" }, sdk.Invalid, "is not a file's name"},
		{"an unknown type", func(p *compose.Params) { p.Kind = "nosuch" }, sdk.Invalid, `no image type "nosuch"`},
		{"a test that fails", func(p *compose.Params) { p.Test = 1 }, sdk.Invalid, "test=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			params := b.params(t, "tar", "hello")
			c.change(params)
			record, _, err := b.compose(t, t.Context(), params)
			if sdk.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.err) {
				t.Errorf("got %v (%s), want %q", err, sdk.CodeOf(err), c.err)
			}
			if _, ok := record.Artifacts[compose.ArtifactImage]; ok {
				t.Error("there is an image")
			}
			if logs := members(t, record.Artifacts[compose.ArtifactLogs]); !strings.Contains(logs["logs/compose.log"], c.err) {
				t.Errorf("the log does not say why: %q", logs)
			}
			if files := members(t, record.Artifacts[compose.ArtifactMetadata]); files["STATUS"] != "FAILED" || files["COMMIT"] != params.Commit {
				t.Errorf("metadata: %q", files)
			}
		})
	}
}

func TestPretends(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	params := b.params(t, "qcow2", "hello")
	params.Test = 2
	record, _, err := b.compose(t, t.Context(), params)
	var size int
	if err := errors.Join(err, record.Field(compose.FieldImageSize, &size)); err != nil || size != 10 || string(record.Artifacts[compose.ArtifactImage]) != "TEST IMAGE" {
		t.Errorf("%v, %d, %q", err, size, record.Artifacts[compose.ArtifactImage])
	}
	if New(Options{}).opts.TestTime != 5*time.Second {
		t.Error("a test takes another time than 5 seconds")
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rpmtest.Make(t, dir, append(rpmtest.Packages()[:2], rpmtest.RPM{
		Name: "endless", Version: "1", Release: "1", Requires: []string{"base"}, Post: `io.stderr:write("endless has begun\n") while true do end`,
	})...)
	rpmtest.Index(t, dir)
	b := newBench(t, dir)
	params := b.params(t, "tar", "endless")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stopped := errors.New("stopped by the test")
	recorder := &watcher{Recorder: &sdktest.Recorder{}, on: "endless has begun", do: func() { cancel(stopped) }}
	job := sdk.NewJob(sdktest.Request(compose.Type, params), t.TempDir(), t.TempDir(), recorder)
	if err := b.builder().Run(ctx, job, params); !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(job.Workspace); err != nil || len(left) > 0 {
		t.Errorf("left in the workspace: %v, %v", left, err)
	}
	if a := recorder.Record().Artifacts; len(a) > 0 {
		t.Errorf("artifacts of a cancelled compose: %d", len(a))
	}
}

// watcher waits for a line of the log.
type watcher struct {
	*sdktest.Recorder
	on string
	do func()
}

func (w *watcher) Log(ctx context.Context, line sdk.LogLine) error {
	if strings.Contains(line.Text, w.on) {
		w.do()
	}
	return w.Recorder.Log(ctx, line)
}

func TestPush(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	params := b.params(t, "oci", "hello")
	recorder := &sdktest.Recorder{}
	recorder.OnBuild = func(_ context.Context, spec *sdk.ImageSpec) (*sdk.BuiltImage, error) {
		if info, err := os.Stat(spec.Layers[0].Path); err != nil || info.Size() != spec.Layers[0].Size {
			t.Errorf("the layer: %v, %v", info, err)
		}
		return &sdk.BuiltImage{Image: "registry.example/iib-build@sha256:abc", Digest: "sha256:abc"}, nil
	}
	job := sdktest.NewJob(t, sdktest.Request(compose.Type, params), recorder)
	if err := New(Options{Packages: b.solver, Push: true}).Run(t.Context(), job, params); err != nil {
		t.Fatal(err)
	}
	record := recorder.Record()
	var image string
	if err := record.Field(compose.FieldImage, &image); err != nil || image != "registry.example/iib-build:1" {
		t.Errorf("image %q, %v", image, err)
	}
	if spec := record.Built[0]; spec.Base != "scratch" || !slices.Equal(spec.Arches, []string{"amd64"}) || spec.Config.Created.Unix() != rpmtest.Built {
		t.Errorf("spec: %+v", spec)
	}
	if len(record.Artifacts[compose.ArtifactImage]) == 0 {
		t.Error("there is no archive")
	}
}

func TestGitRepositories(t *testing.T) {
	t.Parallel()
	real.Need(t, "git", "rpmbuild", "createrepo_c")
	b := newBench(t, rpmtest.Distribution(t))
	origin := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", origin, "-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2023-11-01T00:00:00Z", "GIT_AUTHOR_DATE=2023-11-01T00:00:00Z", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	for name, content := range map[string]string{"site.conf": "pinned", "sub/%{nil} *[x].txt": "odd"} {
		at := filepath.Join(origin, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("/etc/passwd", origin+"/link"), os.WriteFile(origin+"/run", []byte("#!"), 0o755)); err != nil {
		t.Fatal(err)
	}
	git("add", ".")
	git("commit", "-qm", "one")
	commit := git("rev-parse", "HEAD")
	if err := os.WriteFile(origin+"/site.conf", []byte("later"), 0o600); err != nil {
		t.Fatal(err)
	}
	git("commit", "-qam", "two")

	params := b.params(t, "tar", "base")
	params.Repos = []compose.Repo{{
		RPMName: "site", RPMVersion: "1.0", RPMRelease: "3", Summary: "100%{?dist} of %(touch " + origin + "/ran)", Repo: "file://" + origin, Ref: "main",
		Destination: "/opt/site dir", Commit: commit,
	}}
	record, _, err := b.compose(t, t.Context(), params)
	if err != nil {
		t.Fatalf("%v\n%s", err, record.Text())
	}
	image := filepath.Join(t.TempDir(), "root.tar.xz")
	if err := os.WriteFile(image, record.Artifacts[compose.ArtifactImage], 0o600); err != nil {
		t.Fatal(err)
	}
	read := open(t, "tar", image)
	if read("/opt/site dir/site.conf") != "pinned" || read("/opt/site dir/sub/%{nil} *[x].txt") != "odd" {
		t.Error("the files are not those of the pinned commit")
	}
	files := members(t, record.Artifacts[compose.ArtifactMetadata])
	rpm := filepath.Join(t.TempDir(), "site.rpm")
	if err := os.WriteFile(rpm, []byte(files["repo/site-1.0-3.noarch.rpm"]), 0o600); err != nil {
		t.Fatal(err)
	}
	got := tool(t, "rpm", "-qp", "--qf", "%{NAME} %{ARCH} %{LICENSE} %{URL} %{SUMMARY} %{DESCRIPTION} %{BUILDTIME}", "--define", "_dbpath "+t.TempDir(), rpm)
	want := "site noarch Unknown file://" + origin + " 100%{?dist} of %(touch " + origin + "/ran) Created from file://" + origin + ",\nref main, which was commit " + commit
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "1698796800") {
		t.Errorf("the package says\n%s, want\n%s", got, want)
	}
	if files["repo/repodata/repomd.xml"] == "" || !strings.Contains(files["deps.toml"], `"site"`) {
		t.Errorf("metadata: %q", slices.Sorted(keys(files)))
	}
	if _, err := os.Stat(origin + "/ran"); err == nil {
		t.Error("a summary was run")
	}

	for _, c := range []struct {
		name   string
		change func(*compose.Repo)
		err    string
	}{
		{"no repository", func(r *compose.Repo) { r.Repo = "file:///nonexistent" }, "Failed to clone file:///nonexistent"},
		{"a commit that is gone", func(r *compose.Repo) { r.Commit = strings.Repeat("0", 40) }, "Failed to archive file://" + origin + ` from ref "main"`},
		{"a transport that is a program", func(r *compose.Repo) { r.Repo = "ext::sh -c 'touch " + origin + "/ran'" }, "Failed to clone"},
		{"an option in place of an address", func(r *compose.Repo) { r.Repo = "--upload-pack=touch " + origin + "/ran" }, "is no address"},
		{"a name that is a path", func(r *compose.Repo) { r.RPMName = "../x" }, "is not a name"},
		{"a version with a line break", func(r *compose.Repo) { r.RPMVersion = "1\n%(touch x)" }, "is not a version"},
		{"a summary with a line break", func(r *compose.Repo) { r.Summary = "a\n%post\ntouch /x" }, "control characters"},
		{"a destination above", func(r *compose.Repo) { r.Destination = "/../../x" }, "is not an absolute path"},
	} {
		p := b.params(t, "tar", "base")
		p.Repos = slices.Clone(params.Repos)
		c.change(&p.Repos[0])
		if _, _, err := b.compose(t, t.Context(), p); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(fmt.Sprint(err), c.err) {
			t.Errorf("%s: got %v (%s)", c.name, err, sdk.CodeOf(err))
		}
	}
	if _, err := os.Stat(origin + "/ran"); err == nil {
		t.Error("an address was run")
	}
}

func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noise := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	rpmtest.Make(t, dir, append(rpmtest.Packages()[:2], rpmtest.RPM{
		Name: "big", Version: "1", Release: "1", Requires: []string{"base"}, Files: []rpmtest.File{rpmtest.Text("/usr/share/big", string(noise))},
	})...)
	rpmtest.Index(t, dir)
	b := newBench(t, dir)
	disk := real.Disk(t, 5<<20)
	params := b.params(t, "tar", "big")
	recorder := &sdktest.Recorder{}
	job := sdk.NewJob(sdktest.Request(compose.Type, params), disk, t.TempDir(), recorder)
	if err := b.builder().Run(t.Context(), job, params); err == nil || !strings.Contains(err.Error(), "no space is left") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
