package catalog_test

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest/opm"
)

func newDatabase(t *testing.T, specs ...catalogtest.Bundle) (*catalog.Database, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	db, err := catalog.CreateDatabase(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, spec := range specs {
		if err := db.Add(context.Background(), []*catalog.Bundle{read(t, spec)}, catalog.AddOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return db, path
}

func bee(version string) catalogtest.Bundle {
	b := ant(version)
	b.Package, b.Name = "bee", "bee.v"+version
	return b
}

func TestFileThatIsNoCatalogDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, good := newDatabase(t, ant("1.0.0"))
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	torn := slices.Clone(data)
	for i := 4096; i < len(torn); i++ {
		torn[i] = 0xff
	}
	other := filepath.Join(dir, "other.db")
	raw, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec(`CREATE TABLE package(name TEXT)`); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"text", write("text.db", []byte("this is not a database, but it is long enough")), "the file text.db is not a SQLite database"},
		{"nothing", write("empty.db", nil), "the file empty.db is not a SQLite database"},
		{"a file cut short", write("short.db", data[:5000]), "the database short.db is damaged"},
		{"a file with damaged pages", write("torn.db", torn), "the database torn.db is damaged"},
		{"a header and noise", write("noise.db", append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte("x"), 8000)...)), "the database noise.db is damaged"},
		{"a database of something else", other, "is a SQLite database, but not one of an index"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := context.Background()
			db, err := catalog.OpenDatabase(ctx, tt.path)
			if err == nil {
				defer db.Close()
				_, err = db.Package(ctx, "ant")
			}
			if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant: %s", err, tt.want)
			}
		})
	}
}

func TestRefusedAddLeavesTheDatabaseAsItWas(t *testing.T) {
	ctx := context.Background()
	db, path := newDatabase(t, ant("1.0.0"), bee("1.0.0"))
	before := dump(t, path)
	nowhere := bee("1.1.0")
	nowhere.Replaces = "bee.v0.0.1"
	err := db.Add(ctx, []*catalog.Bundle{read(t, after("1.1.0", "1.0.0")), read(t, nowhere)}, catalog.AddOptions{})
	if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "bee.v0.0.1, which is not in package bee") {
		t.Error(err)
	}
	if d := cmp.Diff(before, dump(t, path)); d != "" {
		t.Error(d)
	}
	err = db.Remove(ctx, "ant", "cow")
	if sdk.CodeOf(err) != sdk.NotFound || !strings.Contains(err.Error(), "package cow is not in") {
		t.Error(err)
	}
	if d := cmp.Diff(before, dump(t, path)); d != "" {
		t.Error(d)
	}
}

// dump reads all rows of all tables.
func dump(t *testing.T, path string) map[string][]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	out := map[string][]string{}
	for table, columns := range map[string]string{
		"operatorbundle": "name, csv, bundle, bundlepath, version, skiprange, replaces, skips, substitutesfor",
		"package":        "name, default_channel", "channel": "name, package_name, head_operatorbundle_name",
		"channel_entry": "channel_name, package_name, operatorbundle_name, depth, (SELECT operatorbundle_name FROM channel_entry AS to_entry WHERE to_entry.entry_id = channel_entry.replaces)",
		"related_image": "image, operatorbundle_name", "deprecated": "operatorbundle_name",
		"properties":   "type, value, operatorbundle_name, operatorbundle_version, operatorbundle_path",
		"dependencies": "type, value, operatorbundle_name, operatorbundle_version, operatorbundle_path",
		"api":          "group_name, version, kind, plural",
		"api_provider": "group_name, version, kind, operatorbundle_name, operatorbundle_version, operatorbundle_path",
		"api_requirer": "group_name, version, kind, operatorbundle_name, operatorbundle_version, operatorbundle_path",
	} {
		rows, err := db.Query(`SELECT DISTINCT quote(` + strings.Join(splitColumns(columns), `) || '|' || quote(`) + `) FROM ` + table + ` ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			out[table] = append(out[table], row)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// splitColumns splits at commas outside of parentheses.
func splitColumns(s string) []string {
	var out []string
	depth, from := 0, 0
	for i, r := range s {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out, from = append(out, s[from:i]), i+1
			}
		}
	}
	return append(out, s[from:])
}

func TestDatabaseHasTheRowsThatOperatorRegistryWrites(t *testing.T) {
	beta := after("1.1.0", "1.0.0")
	beta.BetaCRD, beta.Channels, beta.SkipRange = true, []string{"stable", "beta"}, "<1.1.0"
	rich := after("1.2.0", "1.1.0")
	rich.Rich, rich.Skips = true, []string{"ant.v1.1.5"}
	rich.Requires, rich.MaxOpenShift = map[string]string{"bee": ">1.0.0"}, "4.9"
	specs := []catalogtest.Bundle{ant("1.0.0"), beta, rich}

	_, ours := newDatabase(t, specs...)
	theirs, err := opm.New(filepath.Join(t.TempDir(), "reference.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		in := opm.Input{Bundle: spec, Image: spec.Image("registry.example.com/ns"), Dir: t.TempDir()}
		if err := spec.Write(in.Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Add(registry.ReplacesMode, false, []opm.Input{in}); err != nil {
			t.Fatal(err)
		}
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(dump(t, theirs.Path), dump(t, ours)); d != "" {
		t.Error(d)
	}
}

func TestEqualEditsGiveEqualDatabases(t *testing.T) {
	ctx := context.Background()
	build := func() []byte {
		db, path := newDatabase(t, ant("1.0.0"), bee("1.0.0"), after("1.1.0", "1.0.0"))
		if err := db.Remove(ctx, "bee"); err != nil {
			t.Fatal(err)
		}
		// The time at which the schema was made is the one thing that varies.
		raw, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Exec(`UPDATE schema_migrations SET timestamp = 0`); err != nil {
			t.Fatal(err)
		}
		if err := raw.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(build(), build()) {
		t.Error("two databases made by the same edits differ")
	}
}

func TestDatabaseListsItsBundles(t *testing.T) {
	ctx := context.Background()
	db, _ := newDatabase(t, ant("1.0.0"), bee("1.0.0"), after("1.1.0", "1.0.0"), after("1.2.0", "1.1.0"))
	if _, _, err := db.Deprecate(ctx, []string{after("1.1.0", "1.0.0").Image("registry.example.com/ns")}); err != nil {
		t.Fatal(err)
	}
	refs, err := db.Bundles(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := []catalog.BundleRef{
		{Package: "ant", Name: "ant.v1.2.0", Version: "1.2.0", Image: after("1.2.0", "1.1.0").Image("registry.example.com/ns")},
		{Package: "bee", Name: "bee.v1.0.0", Version: "1.0.0", Image: bee("1.0.0").Image("registry.example.com/ns")},
	}
	if d := cmp.Diff(want, refs); d != "" {
		t.Error(d)
	}
	names, err := db.Packages(ctx)
	if err != nil || !slices.Equal(names, []string{"ant", "bee"}) {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := db.Package(ctx, "cow"); sdk.CodeOf(err) != sdk.NotFound {
		t.Error(err)
	}
}

func TestWholePackageCanBeDeprecated(t *testing.T) {
	ctx := context.Background()
	db, _ := newDatabase(t, ant("1.0.0"), bee("1.0.0"))
	edited, gone, err := db.Deprecate(ctx, []string{ant("1.0.0").Image("registry.example.com/ns")})
	if err != nil || len(edited) != 0 || !slices.Equal(gone, []string{"ant"}) {
		t.Errorf("%v, %v, %v", edited, gone, err)
	}
	// Its bundles are forgotten: they can come again.
	if err := db.Add(ctx, []*catalog.Bundle{read(t, ant("1.0.0"))}, catalog.AddOptions{}); err != nil {
		t.Error(err)
	}
	_, _, err = db.Deprecate(ctx, []string{"registry.example.com/ns/x@sha256:00"})
	if sdk.CodeOf(err) != sdk.NotFound {
		t.Error(err)
	}
}

// execute changes a database behind its back.
func execute(t *testing.T, path, query string) {
	t.Helper()
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Exec(query); err != nil {
		t.Fatal(err)
	}
}

func TestOldSkipRangeDoesNotStopAnEdit(t *testing.T) {
	ctx := context.Background()
	db, path := newDatabase(t, ant("1.0.0"))
	execute(t, path, `UPDATE operatorbundle SET skiprange = '<v1.0.0'`)
	p, err := db.Package(ctx, "ant")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "invalid skipRange") {
		t.Errorf("a new package would be accepted with it: %v", err)
	}
	next := []*catalog.Bundle{read(t, after("1.1.0", "1.0.0"))}
	if err := db.Add(ctx, next, catalog.AddOptions{}); err != nil {
		t.Error(err)
	}
	if p, err = catalog.Add(p, next, catalog.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	if d, err := catalog.Diff(p, mustPackage(t, db)); err != nil || !d.Empty() {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestPackageThatWasBrokenBeforeCanBeAddedTo(t *testing.T) {
	ctx := context.Background()
	db, path := newDatabase(t, ant("1.0.0"))
	execute(t, path, `INSERT INTO properties SELECT 'olm.package', '{"packageName":"ant","version":"7.0.0"}', name, version, bundlepath FROM operatorbundle`)
	if _, err := db.Package(ctx, "ant"); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("the package is not broken: %v", err)
	}
	if err := db.Add(ctx, []*catalog.Bundle{read(t, after("1.1.0", "1.0.0"))}, catalog.AddOptions{}); err != nil {
		t.Error(err)
	}
	if refs, err := db.Bundles(ctx); err != nil || len(refs) != 2 {
		t.Errorf("%v, %v", refs, err)
	}
}

func TestDatabaseWithForeignTriggerIsRefused(t *testing.T) {
	_, path := newDatabase(t, ant("1.0.0"))
	execute(t, path, `CREATE TRIGGER surprise AFTER INSERT ON channel BEGIN DELETE FROM package; END`)
	_, err := catalog.OpenDatabase(context.Background(), path)
	if sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "trigger surprise") {
		t.Error(err)
	}
}

func TestDatabaseCapsBundles(t *testing.T) {
	ctx := context.Background()
	beta := after("1.1.0", "1.0.0")
	beta.BetaCRD = true
	db, _ := newDatabase(t, ant("1.0.0"), beta)
	bundles := []*catalog.Bundle{read(t, ant("1.0.0")), read(t, beta)}
	inFile, err := db.Package(ctx, "ant")
	if err != nil {
		t.Fatal(err)
	}
	if inFile, _, err = catalog.CapOpenShift(inFile, bundles); err != nil {
		t.Fatal(err)
	}
	capped, err := db.CapOpenShift(ctx, bundles)
	if err != nil || !slices.Equal(capped, []string{"ant.v1.1.0"}) {
		t.Fatalf("%v, %v", capped, err)
	}
	inDatabase, err := db.Package(ctx, "ant")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := catalog.Diff(inFile, inDatabase); err != nil || !d.Empty() {
		t.Errorf("%+v, %v", d, err)
	}
	if capped, err := db.CapOpenShift(ctx, bundles); err != nil || len(capped) != 0 {
		t.Errorf("capped again: %v, %v", capped, err)
	}
}

func TestFileShrinksWhenMuchIsRemoved(t *testing.T) {
	ctx := context.Background()
	large := catalogtest.Operator(1, 1, 6)
	db, path := newDatabase(t, append([]catalogtest.Bundle{ant("1.0.0")}, large...)...)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Remove(ctx, large[0].Package); err != nil {
		t.Fatal(err)
	}
	now, err := os.Stat(path)
	if err != nil || now.Size() > before.Size()/4 {
		t.Errorf("%d bytes, before %d; %v", now.Size(), before.Size(), err)
	}
}
