package index

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// newContent returns an index without operators: a file-based catalog, a
// database, or both.
func newContent(t *testing.T, files, database bool) *Content {
	t.Helper()
	config := new(Config)
	session, err := config.Open(sdk.NewJob(sdk.Request{}, t.TempDir(), t.TempDir(), nil))
	if err != nil {
		t.Fatal(err)
	}
	c := &Content{session: session, dbPath: filepath.Join(t.TempDir(), "index.db")}
	t.Cleanup(c.Close)
	if files {
		c.tree = session.stores.trees.Empty()
	}
	if database {
		if c.db, err = catalog.CreateDatabase(t.Context(), c.dbPath); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// fill adds n versions of an operator and returns them.
func fill(t *testing.T, c *Content, operator, n int) []*catalog.Bundle {
	t.Helper()
	var bundles []*catalog.Bundle
	for _, b := range catalogtest.Operator(11, operator, n) {
		read, err := b.Read(b.Image(catalogtest.Registry))
		if err != nil {
			t.Fatal(err)
		}
		bundles = append(bundles, read)
	}
	if _, err := c.Add(t.Context(), bundles, catalog.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	return bundles
}

// eachKind runs a test on all kinds of index.
func eachKind(t *testing.T, test func(t *testing.T, c *Content)) {
	for _, kind := range []struct {
		name            string
		files, database bool
	}{{"file-based", true, false}, {"file-based with a hidden database", true, true}, {"SQLite", false, true}} {
		t.Run(kind.name, func(t *testing.T) { test(t, newContent(t, kind.files, kind.database)) })
	}
}

func packages(t *testing.T, c *Content) []string {
	t.Helper()
	names, err := c.Packages(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDeprecatingAllHeadsTakesThePackageOut(t *testing.T) {
	eachKind(t, func(t *testing.T, c *Content) {
		kept, gone := fill(t, c, 3, 2), fill(t, c, 6, 2)
		head := gone[len(gone)-1]
		if err := c.DeprecateImages(t.Context(), map[string][]string{head.Package: {head.Image}}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{kept[0].Package}, packages(t, c)); diff != "" {
			t.Error(diff)
		}
		if stored, err := c.InDatabase(t.Context(), head.Package); err != nil || stored {
			t.Errorf("the database still has %s: %v", head.Package, err)
		}
	})
}

func TestRefsFollowEdits(t *testing.T) {
	eachKind(t, func(t *testing.T, c *Content) {
		bundles := fill(t, c, 3, 3)
		for _, want := range [][]*catalog.Bundle{bundles, nil, bundles} {
			if want == nil {
				if _, err := c.Remove(t.Context(), []string{bundles[0].Package}); err != nil {
					t.Fatal(err)
				}
			} else if len(packages(t, c)) == 0 {
				fill(t, c, 3, 3)
			}
			// Twice: the second time they may be known.
			for range 2 {
				refs, err := c.Refs(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				got := make(map[string]string)
				for _, ref := range refs {
					got[ref.Name] = ref.Image
				}
				expected := make(map[string]string)
				for _, b := range want {
					expected[b.Name] = b.Image
				}
				if diff := cmp.Diff(expected, got); diff != "" {
					t.Error(diff)
				}
			}
		}
	})
}

func TestAccessIsAskedOnceForARepository(t *testing.T) {
	var asked []string
	a := &accesses{ask: func(_ context.Context, image string) (sdk.Access, error) {
		asked = append(asked, image)
		if image == "q.io/ns/secret:1" {
			return sdk.Access{}, sdk.Errorf(sdk.Unavailable, "later")
		}
		return sdk.Access{Username: repository(image)}, nil
	}}
	for _, image := range []string{"q.io/ns/a:1", "q.io/ns/b:1", "q.io/ns/a@sha256:0", "q.io/ns/a:2"} {
		if access, err := a.of(t.Context(), image); err != nil || access.Username != repository(image) {
			t.Errorf("%s: %+v, %v", image, access, err)
		}
	}
	for range 2 {
		if _, err := a.of(t.Context(), "q.io/ns/secret:1"); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("error %v", err)
		}
	}
	if diff := cmp.Diff([]string{"q.io/ns/a:1", "q.io/ns/b:1", "q.io/ns/secret:1", "q.io/ns/secret:1"}, asked); diff != "" {
		t.Error(diff)
	}
}
