package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/bundle/bundletest"
	"github.com/iib-engine/iib/sdk/image/imagetest"
	"github.com/iib-engine/iib/sdk/sdktest"
)

const (
	csvFile = "manifests/etcd.clusterserviceversion.yaml"
	crdFile = "manifests/etcd.crd.yaml"
)

func original() map[string]string { return bundletest.Files("etcd") }

// world is a registry, the handler over the wire, and what plays the engine.
type world struct {
	t        *testing.T
	registry *bundletest.Registry
	handler  sdktest.RequestHandler
	recorder *sdktest.Recorder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	h := new(handler)
	doc := h.Describe()
	return &world{
		t: t, registry: bundletest.New(t), handler: sdktest.Handler(t, requestType, h),
		recorder: &sdktest.Recorder{Doc: &doc, OnAccess: bundletest.Access},
	}
}

// push stores a bundle image for two architectures.
func (w *world) push(files, labels map[string]string) (spec, pinned string) {
	w.t.Helper()
	return w.registry.Push("ns/bundle:v1", files, labels, "s390x", "amd64")
}

// customize sets what the customizations do.
func (w *world) customize(edited map[string]string, labels map[string]string) {
	w.recorder.OnCustomize = func(_ context.Context, _ string, b *sdk.Bundle) error {
		for path, content := range edited {
			path = filepath.Join(b.Dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				return err
			}
		}
		for label, value := range labels {
			b.SetLabel(label, value)
		}
		return nil
	}
}

func (w *world) handle(params map[string]any) (*sdk.Job, error) {
	job := sdktest.NewJob(w.t, sdktest.Request(requestType, params), w.recorder)
	return job, w.handler.Handle(w.t.Context(), job)
}

// unpack returns the files of a layer.
func unpack(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for r := tar.NewReader(gz); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		} else if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[header.Name] = string(content)
	}
}

func TestOnlyChangedFilesGoIntoTheOneLayer(t *testing.T) {
	w := newWorld(t)
	spec, pinned := w.push(original(), map[string]string{"a": "b"})
	edited := map[string]string{
		csvFile:                    "kind: ClusterServiceVersion\nspec: {changed: yes}\n",
		crdFile:                    original()[crdFile],
		"manifests/new/added.yaml": "new: file\n",
	}
	w.customize(edited, map[string]string{bundle.LabelPinned: "true"})
	var files map[string]string
	w.recorder.OnBuild = func(_ context.Context, s *sdk.ImageSpec) (*sdk.BuiltImage, error) {
		var err error
		files, err = unpack(s.Layers[0].Path)
		return &sdk.BuiltImage{Image: "b.io/iib-build@sha256:1", Digest: "sha256:1"}, err
	}
	job, err := w.handle(map[string]any{
		"from_bundle_image": spec, "organization": "acme", "bundle_replacements": map[string]string{"x": "y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := w.recorder.Record()
	delete(edited, crdFile)
	if diff := cmp.Diff(edited, files); diff != "" {
		t.Error(diff)
	}
	build := got.Built[0]
	if len(got.Built) != 1 || len(build.Layers) != 1 || build.Base != pinned || build.Repository != "" || build.OCI ||
		!slices.Equal(build.Arches, []string{"amd64", "s390x"}) {
		t.Errorf("built %+v", build)
	}
	want := sdk.ImageConfig{Labels: map[string]string{bundle.LabelPinned: "true"}, Created: imagetest.Created}
	if diff := cmp.Diff(want, build.Config); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]*sdk.Publication{{Image: "b.io/iib-build@sha256:1"}}, got.Published); diff != "" {
		t.Error(diff)
	}
	if call := got.Customized[0]; call.Organization != "acme" || call.Bundle.Organization != "acme" ||
		call.Bundle.Package != "etcd" || call.Bundle.Image != pinned || call.Bundle.Pinned || call.Bundle.Until != "" ||
		call.Bundle.Replacements["x"] != "y" {
		t.Errorf("customized %+v", call.Bundle)
	}
	wantStates := []string{
		"Resolving the bundle image.",
		"Regenerating the bundle image for the architectures amd64, s390x.",
		"Creating the manifest list and publishing sha256:1.",
	}
	if diff := cmp.Diff(wantStates, got.States); diff != "" {
		t.Error(diff)
	}
	for field, want := range map[string]string{
		"from_bundle_image_resolved": `"` + pinned + `"`,
		"arches":                     `["amd64","s390x"]`,
		"bundle_image":               `"registry.example/iib-build:1"`,
	} {
		if got := string(got.Fields[field]); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	if job.Outcome() != "The bundle image was regenerated." {
		t.Errorf("outcome %q", job.Outcome())
	}
}

func TestTheSameChangesMakeTheSameLayer(t *testing.T) {
	w := newWorld(t)
	spec, _ := w.push(original(), nil)
	w.customize(map[string]string{crdFile: "changed: true\n", "metadata/a": "b"}, nil)
	for range 2 {
		if _, err := w.handle(map[string]any{"from_bundle_image": spec}); err != nil {
			t.Fatal(err)
		}
	}
	built := w.recorder.Record().Built
	if a, b := built[0].Layers[0], built[1].Layers[0]; a.Digest != b.Digest || a.DiffID != b.DiffID || a.Digest == "" {
		t.Errorf("layers %+v and %+v", a, b)
	}
}

func TestABundleThatNothingChangesIsBuiltWithoutALayer(t *testing.T) {
	w := newWorld(t)
	spec, _ := w.push(original(), map[string]string{bundle.LabelPinned: "True"})
	if _, err := w.handle(map[string]any{"from_bundle_image": spec}); err != nil {
		t.Fatal(err)
	}
	got := w.recorder.Record()
	if len(got.Built) != 1 || len(got.Built[0].Layers) != 0 || len(got.Published) != 1 {
		t.Errorf("built %+v", got.Built)
	}
	if !got.Customized[0].Bundle.Pinned {
		t.Error("the customizations were not told that the bundle is pinned")
	}
}

func TestWhatCannotBeRegeneratedIsSaidAndNothingIsPushed(t *testing.T) {
	with := func(path, content string) map[string]string {
		files := original()
		if files[path] = content; content == "" {
			delete(files, path)
		}
		return files
	}
	tests := map[string]struct {
		files, labels map[string]string
		params        map[string]any
		code          sdk.Code
		want          string
	}{
		"no such image": {
			params: map[string]any{"from_bundle_image": "{registry}/ns/other:v1"},
			code:   sdk.NotFound, want: "/ns/other:v1",
		},
		"no bundle image": {
			files: map[string]string{"etc/passwd": "root"},
			code:  sdk.Invalid, want: "ns/bundle:v1 is no bundle image, which has the directories /manifests and /metadata",
		},
		"no annotations": {
			files: with("metadata/annotations.yaml", ""),
			code:  sdk.Invalid, want: "/metadata",
		},
		"no package": {
			files: with("metadata/annotations.yaml", "annotations: {}\n"),
			code:  sdk.Invalid, want: "metadata/annotations.yaml: the annotation " + bundle.LabelPackage + " is missing",
		},
		"a manifest with a key twice": {
			files: with(crdFile, "a: 1\na: 2\n"),
			code:  sdk.Invalid, want: `manifests/etcd.crd.yaml: line 2: key "a" is already on line 1`,
		},
		"a label that is no boolean": {
			labels: map[string]string{bundle.LabelPinned: "yes"},
			code:   sdk.Invalid, want: `the label com.redhat.iib.pinned is "yes"; it must be true or false`,
		},
		"credentials that cannot be read": {
			params: map[string]any{"unreadable_auths": []string{"r.io", "s.io"}},
			code:   sdk.Invalid, want: "registry_auths: the credentials for r.io, s.io are not base64 of user:password",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.files == nil {
				test.files = original()
			}
			spec, _ := w.push(test.files, test.labels)
			params := map[string]any{"from_bundle_image": spec}
			for key, value := range test.params {
				if text, ok := value.(string); ok {
					value = strings.ReplaceAll(text, "{registry}", w.registry.Host)
				}
				params[key] = value
			}
			_, err := w.handle(params)
			if sdk.CodeOf(err) != test.code || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v (%s), want %s: %s", err, sdk.CodeOf(err), test.code, test.want)
			}
			if got := w.recorder.Record(); len(got.Built)+len(got.Published) > 0 {
				t.Errorf("built %d, published %d", len(got.Built), len(got.Published))
			}
		})
	}
}

func TestARefusedCustomizationEndsTheRequest(t *testing.T) {
	w := newWorld(t)
	spec, _ := w.push(original(), nil)
	w.recorder.OnCustomize = func(context.Context, string, *sdk.Bundle) error {
		return sdk.Errorf(sdk.Invalid, "no such image")
	}
	_, err := w.handle(map[string]any{"from_bundle_image": spec})
	if sdk.CodeOf(err) != sdk.Invalid || err.Error() != "no such image" {
		t.Errorf("error %v", err)
	}
	if len(w.recorder.Record().Built) > 0 {
		t.Error("built all the same")
	}
}

func TestALinkThatACustomizationMadeIsRefused(t *testing.T) {
	w := newWorld(t)
	spec, _ := w.push(original(), nil)
	w.recorder.OnCustomize = func(_ context.Context, _ string, b *sdk.Bundle) error {
		return os.Symlink("/etc/passwd", filepath.Join(b.Dir, "manifests", "x.yaml"))
	}
	_, err := w.handle(map[string]any{"from_bundle_image": spec})
	if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "manifests/x.yaml of the bundle is neither a file nor a directory") {
		t.Errorf("error %v", err)
	}
}
