package catalog_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

func TestFileIsBroughtUpToItsDatabase(t *testing.T) {
	ctx := context.Background()
	line := []catalogtest.Bundle{ant("1.0.0"), after("1.1.0", "1.0.0"), after("1.2.0", "1.1.0")}
	db, _ := newDatabase(t, line...)
	old, err := db.Package(ctx, "ant")
	if err != nil {
		t.Fatal(err)
	}
	old = foreignise(t, old)
	same, err := catalog.Refresh(old, mustPackage(t, db))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(old.Blobs, same.Blobs, sameBlob) {
		t.Error("a package that says the same was rewritten")
	}

	if err := db.Add(ctx, []*catalog.Bundle{read(t, after("1.3.0", "1.2.0"))}, catalog.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Deprecate(ctx, []string{line[1].Image("registry.example.com/ns")}); err != nil {
		t.Fatal(err)
	}
	migrated := mustPackage(t, db)
	now, err := catalog.Refresh(old, migrated)
	if err != nil {
		t.Fatal(err)
	}
	// A database has no deprecations of channels, so the file's own one stays.
	kept := &catalog.Changes{Package: "ant", DeprecationsAdded: []catalog.Deprecation{{Schema: "olm.channel", Name: "stable", Message: "x"}}}
	if d, err := catalog.Diff(migrated, now); err != nil || !reflect.DeepEqual(d, kept) {
		t.Errorf("%+v, %v", d, err)
	}
	if got, was := find(t, now, "olm.bundle", "ant.v1.2.0"), find(t, old, "olm.bundle", "ant.v1.2.0"); !sameBlob(got, was) {
		t.Error("an unchanged bundle lost its bytes")
	}
	if got := find(t, now, "olm.channel", "stable"); !strings.Contains(string(got.JSON), "1.50e2") {
		t.Errorf("the channel lost what it does not know: %s", got.JSON)
	}
	find(t, now, "example.com/notes", "")
	if got := find(t, now, "olm.deprecations", ""); strings.Contains(string(got.JSON), "ant.v1.0.0") || !strings.Contains(string(got.JSON), "stable") {
		t.Errorf("deprecations: %s", got.JSON)
	}

	gone, err := catalog.Refresh(old, nil)
	if err != nil || !gone.Empty() {
		t.Errorf("%v, %v", gone, err)
	}
	if first, err := catalog.Refresh(nil, migrated); err != nil || len(first.Blobs) != len(migrated.Blobs) {
		t.Errorf("%v, %v", first, err)
	}
}

func mustPackage(t *testing.T, db *catalog.Database) *catalog.Package {
	t.Helper()
	p, err := db.Package(context.Background(), "ant")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sameBlob(a, b catalog.Blob) bool {
	return a.Schema == b.Schema && a.Name == b.Name && string(a.JSON) == string(b.JSON)
}
