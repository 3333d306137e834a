package catalog_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest/opm"
)

// These are the differences from operator-registry that the package's
// documentation lists. Each is wanted; a test that fails tells that
// operator-registry has changed its mind.

func referenceAfter(t *testing.T, files ...map[string][]byte) error {
	t.Helper()
	r, err := opm.New(filepath.Join(t.TempDir(), "reference.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, f := range files {
		in := opm.Input{Bundle: catalogtest.Bundle{Package: "ant"}, Image: fmt.Sprintf("%s%062d", antImage[:len(antImage)-62], i), Dir: writeFiles(t, f)}
		if i == len(files)-1 {
			_, err = r.Add(registry.ReplacesMode, false, []opm.Input{in})
		} else if _, err := r.Add(registry.ReplacesMode, false, []opm.Input{in}); err != nil {
			t.Fatal(err)
		}
	}
	return err
}

func TestSecondCSVIsRefusedWhereOperatorRegistryTakesTheFirst(t *testing.T) {
	files := ant("1.0.0").Files()
	files["manifests/second.yaml"] = files["manifests/ant.clusterserviceversion.yaml"]
	if err := referenceAfter(t, files); err != nil {
		t.Errorf("operator-registry: %v", err)
	}
	if _, err := catalog.ReadBundle(writeFiles(t, files), antImage); sdk.CodeOf(err) != sdk.Invalid {
		t.Error(err)
	}
}

func TestBundleGivenTwiceIsRefusedWhereOperatorRegistryOverwritesItWithItself(t *testing.T) {
	r, err := opm.New(filepath.Join(t.TempDir(), "reference.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	spec := ant("1.0.0")
	in := opm.Input{Bundle: spec, Image: antImage, Dir: writeFiles(t, spec.Files())}
	if _, err := r.Add(registry.ReplacesMode, true, []opm.Input{in, in}); err != nil {
		t.Errorf("operator-registry: %v", err)
	}
	if _, err := catalog.Group([]*catalog.Bundle{read(t, spec), read(t, spec)}); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "leave one of them out") {
		t.Error(err)
	}
}

func TestReleaseIsAcceptedWhereOperatorRegistryWritesAnInvalidCatalog(t *testing.T) {
	spec := ant("1.0.0")
	spec.Name = "ant-v1.0.0-2"
	files := spec.Files()
	const csv = "manifests/ant.clusterserviceversion.yaml"
	files[csv] = bytes.Replace(files[csv], []byte(`"version":"1.0.0"`), []byte(`"version":"1.0.0","release":"2"`), 1)
	if err := referenceAfter(t, files); err == nil || !strings.Contains(err.Error(), "olm.package") {
		t.Errorf("operator-registry: %v", err)
	}
	b, err := catalog.ReadBundle(writeFiles(t, files), antImage)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Add(nil, []*catalog.Bundle{b}, catalog.AddOptions{}); err != nil {
		t.Error(err)
	}
	db, _ := newDatabase(t)
	if err := db.Add(context.Background(), []*catalog.Bundle{b}, catalog.AddOptions{}); err != nil {
		t.Error(err)
	}
}

func TestBundleWithoutChannelIsRefusedWhereOperatorRegistryLosesIt(t *testing.T) {
	without := after("1.1.0", "1.0.0")
	without.Channels = nil
	if err := referenceAfter(t, ant("1.0.0").Files(), without.Files()); err != nil {
		t.Errorf("operator-registry: %v", err)
	}
	_, err := catalog.ReadBundle(writeFiles(t, without.Files()), antImage)
	if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "name no channel") {
		t.Error(err)
	}
}

func TestSemverModesLeaveOtherPackagesAloneWhereOperatorRegistryClearsThem(t *testing.T) {
	ctx := context.Background()
	db, _ := newDatabase(t, ant("1.0.0"), after("1.1.0", "1.0.0"))
	before, err := db.Package(ctx, "ant")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Add(ctx, []*catalog.Bundle{read(t, bee("1.0.0"))}, catalog.AddOptions{Mode: catalog.Semver}); err != nil {
		t.Fatal(err)
	}
	now, err := db.Package(ctx, "ant")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, now); d != "" {
		t.Error(d)
	}

	dir := t.TempDir()
	r, err := opm.New(filepath.Join(dir, "reference.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var theirs *opm.Canonical
	for i, spec := range []catalogtest.Bundle{ant("1.0.0"), after("1.1.0", "1.0.0"), bee("1.0.0")} {
		mode := []registry.Mode{registry.ReplacesMode, registry.ReplacesMode, registry.SemVerMode}[i]
		cfg, err := r.Add(mode, false, []opm.Input{{Bundle: spec, Image: spec.Image("registry.example.com/ns"), Dir: writeFiles(t, spec.Files())}})
		if err != nil {
			t.Fatal(err)
		}
		theirs = opm.Canonicalize(cfg)["ant"]
	}
	if strings.Contains(theirs.Bundles["ant.v1.0.0"], "olm.csv.metadata") {
		t.Error("operator-registry has left the manifests of the other package alone")
	}
}

func TestBundleThatDroppedOutMustComeWithItsSuccessorInAFile(t *testing.T) {
	// 1.0.1 replaces 1.0.0 instead of 1.0.5, which drops out.
	dropped := ant("1.0.5")
	p := ants(t, dropped)
	replaced := ant("1.1.0")
	p, err := catalog.Add(p, []*catalog.Bundle{read(t, replaced)}, catalog.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	next := after("1.2.0", "1.0.5")
	_, err = catalog.Add(p, []*catalog.Bundle{read(t, next)}, catalog.AddOptions{})
	if err == nil || !strings.Contains(err.Error(), "add ant.v1.0.5 before it or in the same request") {
		t.Error(err)
	}
	groups, err := catalog.Group([]*catalog.Bundle{read(t, next), read(t, dropped)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Add(p, groups[0], catalog.AddOptions{}); err != nil {
		t.Error(err)
	}
	// A database remembers.
	db, _ := newDatabase(t, dropped, replaced, next)
	if _, err := db.Package(context.Background(), "ant"); err != nil {
		t.Error(err)
	}
}
