package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/pkg/registry"

	"github.com/iib-engine/iib/sdk"
)

// Package migrates one package to the file-based form. A package that is not
// there gives an error of code sdk.NotFound.
func (d *Database) Package(ctx context.Context, name string) (*Package, error) {
	p, err := renderPackage(ctx, d.db, name)
	return p, d.wrap("migrate package "+name, err)
}

func renderPackage(ctx context.Context, q querier, name string) (*Package, error) {
	g, err := loadGraph(ctx, q, name)
	if err != nil {
		return nil, err
	}
	return g.render(ctx, q)
}

// render reads the bundles of a graph that is as the database has it.
func (g *graph) render(ctx context.Context, q querier) (*Package, error) {
	if !g.listed {
		return nil, errNotListed(g.name)
	}
	p := &Package{Name: g.name}
	pkg := declcfg.Package{Schema: schemaPackage, Name: g.name, DefaultChannel: g.defaultChannel}
	if ch := g.channels[g.defaultChannel]; ch != nil {
		var err error
		if pkg.Icon, err = headIcon(ctx, q, ch.head); err != nil {
			return nil, err
		}
	}
	blob, err := newBlob(schemaPackage, g.name, g.name, pkg)
	if err != nil {
		return nil, err
	}
	p.Blobs = append(p.Blobs, blob)

	bundles := map[string]bool{}
	for _, name := range g.channelNames() {
		now := g.publish(g.channels[name])
		entries := []declcfg.ChannelEntry{}
		for _, bundle := range slices.Sorted(maps.Keys(now)) {
			bundles[bundle] = true
			entries = append(entries, now[bundle].entry(bundle))
		}
		blob, err := newBlob(schemaChannel, g.name, name, declcfg.Channel{Schema: schemaChannel, Name: name, Package: g.name, Entries: entries})
		if err != nil {
			return nil, err
		}
		p.Blobs = append(p.Blobs, blob)
	}
	names := slices.Sorted(maps.Keys(bundles))
	described, err := describeBundles(ctx, q, names)
	if err != nil {
		return nil, err
	}
	for _, bundle := range names {
		n, rows := g.nodes[bundle], described[bundle]
		// One bundle's manifests at a time: together they are large.
		if err := rows.loadManifests(ctx, q, bundle); err != nil {
			return nil, err
		}
		b, err := rows.render(g.name, n.name, n.image, n.version)
		if err != nil {
			return nil, err
		}
		blob, err := newBlob(schemaBundle, g.name, bundle, b)
		if err != nil {
			return nil, err
		}
		p.Blobs = append(p.Blobs, blob)
	}
	if err := p.validateEdited(); err != nil {
		return nil, err
	}
	return p, nil
}

// maxRow bounds what is read of one bundle. SQLite itself would allow 1 GB.
const maxRow = 64 << 20

func checkSize(ctx context.Context, q querier, bundle string) error {
	sizes, err := collect(ctx, q, func(rows *sql.Rows) (int64, error) {
		var n sql.NullInt64
		err := rows.Scan(&n)
		return n.Int64, err
	}, `SELECT max(coalesce(octet_length(csv), 0), coalesce(octet_length(bundle), 0)) FROM operatorbundle WHERE name = ?`, bundle)
	if err != nil {
		return err
	}
	if len(sizes) > 0 && sizes[0] > maxRow {
		return sdk.Errorf(sdk.Invalid, "the stored manifests of bundle %s are larger than %d MiB", bundle, maxRow>>20)
	}
	return nil
}

func headIcon(ctx context.Context, q querier, bundle string) (*declcfg.Icon, error) {
	if err := checkSize(ctx, q, bundle); err != nil {
		return nil, err
	}
	csvs, err := collect(ctx, q, scanText, `SELECT csv FROM operatorbundle WHERE name = ?`, bundle)
	if err != nil || len(csvs) == 0 || csvs[0] == "" {
		return nil, err
	}
	icon, err := iconOf(csvs[0])
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "the stored ClusterServiceVersion of %s is malformed: %v", bundle, err)
	}
	return icon, nil
}

func (r *bundleRows) loadManifests(ctx context.Context, q querier, bundle string) error {
	if err := checkSize(ctx, q, bundle); err != nil {
		return err
	}
	texts, err := collect(ctx, q, scanText, `SELECT bundle FROM operatorbundle WHERE name = ?`, bundle)
	if err != nil {
		return err
	}
	r.text = strings.Join(texts, "")
	if r.csv, err = csvIn(r.text); err != nil {
		return sdk.Errorf(sdk.Invalid, "the stored objects of bundle %s: %v", bundle, err)
	}
	return nil
}

// describeBundles reads the images, properties and dependencies of bundles.
// Their tables have no index, so each is gone through once for all bundles.
func describeBundles(ctx context.Context, q querier, bundles []string) (map[string]*bundleRows, error) {
	list, err := json.Marshal(bundles)
	if err != nil {
		return nil, err
	}
	described := make(map[string]*bundleRows, len(bundles))
	for _, name := range bundles {
		described[name] = &bundleRows{}
	}
	const ofBundles = ` WHERE operatorbundle_name IN (SELECT value FROM json_each(?))`

	images, err := collect(ctx, q, scanPair, `SELECT DISTINCT operatorbundle_name, image FROM related_image`+ofBundles+` AND image IS NOT NULL ORDER BY image`, string(list))
	if err != nil {
		return nil, err
	}
	for _, row := range images {
		r := described[row[0]]
		r.images = append(r.images, row[1])
	}
	props, err := collect(ctx, q, scanOwned, `SELECT DISTINCT operatorbundle_name, CAST(type AS TEXT), CAST(value AS TEXT) FROM properties`+ofBundles, string(list))
	if err != nil {
		return nil, err
	}
	for _, row := range props {
		r := described[row.bundle]
		r.props = append(r.props, row.typedValue)
	}
	deps, err := collect(ctx, q, scanOwned, `SELECT DISTINCT operatorbundle_name, CAST(type AS TEXT), CAST(value AS TEXT) FROM dependencies`+ofBundles, string(list))
	if err != nil {
		return nil, err
	}
	for _, row := range deps {
		r := described[row.bundle]
		r.deps = append(r.deps, row.typedValue)
	}
	return described, nil
}

// ownedValue is a property or a dependency with the bundle that has it.
type ownedValue struct {
	bundle string
	typedValue
}

func scanOwned(rows *sql.Rows) (ownedValue, error) {
	var bundle, typ, value sql.NullString
	err := rows.Scan(&bundle, &typ, &value)
	return ownedValue{bundle.String, typedValue{typ.String, value.String}}, err
}

// csvIn finds the CSV among concatenated objects. No objects have none; the
// semver modes leave bundles like that.
func csvIn(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	objects, err := registry.BundleStringToObjectStrings(text)
	if err != nil {
		return "", err
	}
	for _, object := range objects {
		var kind struct {
			Kind string `json:"kind"`
		}
		if err := json.Unmarshal([]byte(object), &kind); err != nil {
			return "", err
		}
		if kind.Kind == "ClusterServiceVersion" {
			return object, nil
		}
	}
	return "", sdk.Errorf(sdk.Invalid, "none is a ClusterServiceVersion")
}
