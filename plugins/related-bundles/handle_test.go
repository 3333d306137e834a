package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
	"github.com/iib-engine/iib/sdk/bundle/bundletest"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// world is a registry, the handler over the wire, and what plays the engine.
type world struct {
	t        *testing.T
	registry *bundletest.Registry
	handler  sdktest.RequestHandler
	recorder *sdktest.Recorder
}

func newWorld(t *testing.T, h *handler) *world {
	t.Helper()
	doc := h.Describe()
	return &world{
		t: t, registry: bundletest.New(t), handler: sdktest.Handler(t, requestType, h),
		recorder: &sdktest.Recorder{Doc: &doc, OnAccess: bundletest.Access},
	}
}

var isBundle = map[string]string{bundle.LabelBundle: "true"}

// push stores a bundle of a name that relates to others.
func (w *world) push(name string, related ...string) (spec, pinned string) {
	w.t.Helper()
	return w.registry.Push("ns/"+name+":v1", bundletest.Files(name, related...), isBundle)
}

func (w *world) handle(params map[string]any) (*sdk.Job, error) {
	job := sdktest.NewJob(w.t, sdktest.Request(requestType, params), w.recorder)
	return job, w.handler.Handle(w.t.Context(), job)
}

func (w *world) result() []string {
	w.t.Helper()
	var specs []string
	if err := json.Unmarshal(w.recorder.Record().Artifacts[artifact], &specs); err != nil {
		w.t.Fatal(err)
	}
	return specs
}

func TestTheListIsStoredWithTheParentLast(t *testing.T) {
	w := newWorld(t, new(handler))
	operand, _ := w.registry.Push("ns/operand:v1", nil, nil)
	d, _ := w.push("d", operand)
	_, c := w.push("c", d)
	b, _ := w.push("b", operand, d)
	a, pinned := w.push("a", b, operand, c)
	job, err := w.handle(map[string]any{"parent_bundle_image": a})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{d, c, b, pinned}, w.result()); diff != "" {
		t.Error(diff)
	}
	got := w.recorder.Record()
	if field := string(got.Fields["parent_bundle_image_resolved"]); field != `"`+pinned+`"` {
		t.Errorf("parent_bundle_image_resolved is %s", field)
	}
	want := []string{
		"Resolving the parent bundle image.",
		"Finding the related bundles of " + pinned + ".",
		"Writing the list of 4 bundles.",
	}
	if diff := cmp.Diff(want, got.States); diff != "" {
		t.Error(diff)
	}
	if len(got.Built)+len(got.Published)+len(got.Customized) > 0 {
		t.Errorf("built %d, published %d, customized %d", len(got.Built), len(got.Published), len(got.Customized))
	}
	if job.Outcome() != "The related bundles were found: 3." {
		t.Errorf("outcome %q", job.Outcome())
	}
}

func TestEachBundleIsCustomizedUpToTheList(t *testing.T) {
	w := newWorld(t, new(handler))
	b, _ := w.push("b")
	hidden := strings.Replace(b, w.registry.Host, "hidden.example.com", 1)
	a, pinned := w.push("a", hidden)
	var mu sync.Mutex
	var seen []string
	w.recorder.OnCustomize = func(_ context.Context, organization string, bundle *sdk.Bundle) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, strings.Join([]string{organization, bundle.Organization, bundle.Package, bundle.Until}, " "))
		path := filepath.Join(bundle.Dir, "manifests", bundle.Package+".clusterserviceversion.yaml")
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), "hidden.example.com", w.registry.Host)), 0o644)
	}
	if _, err := w.handle(map[string]any{"parent_bundle_image": a, "organization": "acme"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{b, pinned}, w.result()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"acme acme a related_bundles", "acme acme b related_bundles"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestABundleWithoutRelatedOnesIsAListOfOne(t *testing.T) {
	w := newWorld(t, new(handler))
	a, pinned := w.push("a")
	if _, err := w.handle(map[string]any{"parent_bundle_image": a}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{pinned}, w.result()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCannotBeListedIsSaid(t *testing.T) {
	tests := map[string]struct {
		make func(w *world) map[string]any
		code sdk.Code
		want string
	}{
		"no such image": {
			func(w *world) map[string]any {
				return map[string]any{"parent_bundle_image": w.registry.Host + "/ns/gone:v1"}
			},
			sdk.NotFound, "/ns/gone:v1",
		},
		"no bundle image": {
			func(w *world) map[string]any {
				spec, _ := w.registry.Push("ns/a:v1", map[string]string{"etc/passwd": "root"}, nil)
				return map[string]any{"parent_bundle_image": spec}
			},
			sdk.Invalid, "is no bundle image, which has the directories /manifests and /metadata",
		},
		"an image that is gone": {
			func(w *world) map[string]any {
				a, _ := w.push("a", w.registry.Host+"/ns/gone:v1", w.registry.Host+"/ns/lost:v1")
				return map[string]any{"parent_bundle_image": a}
			},
			sdk.NotFound, "2 of 2 images: ",
		},
		"a circle": {
			func(w *world) map[string]any {
				w.push("b", w.registry.Host+"/ns/c:v1")
				w.push("c", w.registry.Host+"/ns/b:v1")
				a, _ := w.push("a", w.registry.Host+"/ns/b:v1")
				return map[string]any{"parent_bundle_image": a}
			},
			sdk.Invalid, "/ns/b:v1 relates to ",
		},
		"too many": {
			func(w *world) map[string]any {
				b, _ := w.push("b")
				c, _ := w.push("c")
				d, _ := w.push("d")
				a, _ := w.push("a", b, c, d)
				return map[string]any{"parent_bundle_image": a}
			},
			sdk.Invalid, "relates to 3 others; at most 2 are allowed",
		},
		"credentials that cannot be read": {
			func(w *world) map[string]any {
				a, _ := w.push("a")
				return map[string]any{"parent_bundle_image": a, "unreadable_auths": []string{"r.io"}}
			},
			sdk.Invalid, "registry_auths: the credentials for r.io are not base64 of user:password",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &handler{MaxRelatedBundles: 3})
			_, err := w.handle(test.make(w))
			if sdk.CodeOf(err) != test.code || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v (%s), want %s: %s", err, sdk.CodeOf(err), test.code, test.want)
			}
			if got := w.recorder.Record(); len(got.Artifacts) > 0 {
				t.Error("a list was stored")
			}
		})
	}
}
