package catalog

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/operator-framework/operator-registry/alpha/property"
)

// BundleRef names a bundle of a catalog.
type BundleRef struct {
	Package string `json:"package"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Image is its pull spec.
	Image string `json:"image"`
}

// Packages lists the packages of the database, sorted.
func (d *Database) Packages(ctx context.Context) ([]string, error) {
	names, err := collect(ctx, d.db, scanText, `SELECT name FROM package ORDER BY name`)
	return names, d.wrap("list the packages", err)
}

// Bundles lists the published bundles by package and name. It reads neither
// manifests nor metadata.
func (d *Database) Bundles(ctx context.Context) ([]BundleRef, error) {
	refs, err := listBundles(ctx, d.db, false)
	return refs, d.wrap("list the bundles", err)
}

// Deprecated returns the names of the bundles that the database keeps as the
// lower ends of upgrade graphs and Bundles leaves out.
func (d *Database) Deprecated(ctx context.Context) ([]string, error) {
	names, err := collect(ctx, d.db, scanText, `SELECT DISTINCT operatorbundle_name FROM properties WHERE type = ? ORDER BY 1`, typeDeprecated)
	return names, d.wrap("list the deprecated bundles", err)
}

func listBundles(ctx context.Context, q querier, deprecated bool) ([]BundleRef, error) {
	hidden := map[string]bool{}
	if !deprecated {
		var err error
		if hidden, err = textSet(ctx, q, `SELECT DISTINCT operatorbundle_name FROM properties WHERE type = ?`, typeDeprecated); err != nil {
			return nil, err
		}
	}
	// The package property has all that is wanted. The bundle's own row has it
	// behind the manifests, where reading all of them reads the whole file.
	described, err := describedBundles(ctx, q)
	if err != nil {
		return nil, err
	}
	placed, err := collect(ctx, q, scanPair, `SELECT DISTINCT package_name, operatorbundle_name FROM channel_entry
		WHERE operatorbundle_name IN (SELECT name FROM operatorbundle) ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	var refs []BundleRef
	for _, p := range placed {
		pkg, name := p[0], p[1]
		if hidden[name] {
			continue
		}
		ref, ok := described[name]
		if !ok {
			nodes, err := collect(ctx, q, scanNode, `SELECT rowid, name, bundlepath, version, skiprange, replaces, skips, substitutesfor
				FROM operatorbundle WHERE name = ?`, name)
			if err != nil {
				return nil, err
			}
			ref = BundleRef{Version: nodes[0].version, Image: nodes[0].image}
		}
		ref.Package, ref.Name = pkg, name
		refs = append(refs, ref)
	}
	return refs, nil
}

func describedBundles(ctx context.Context, q querier) (map[string]BundleRef, error) {
	type row struct {
		name string
		ref  BundleRef
	}
	rows, err := collect(ctx, q, func(rows *sql.Rows) (row, error) {
		var name, image, value sql.NullString
		if err := rows.Scan(&name, &image, &value); err != nil {
			return row{}, err
		}
		var p property.Package
		if !image.Valid || json.Unmarshal([]byte(value.String), &p) != nil {
			return row{}, nil // to be read from the bundle's row
		}
		return row{name.String, BundleRef{Version: p.Version, Image: image.String}}, nil
	}, `SELECT DISTINCT operatorbundle_name, operatorbundle_path, CAST(value AS TEXT) FROM properties WHERE type = ?`, property.TypePackage)
	if err != nil {
		return nil, err
	}
	described := make(map[string]BundleRef, len(rows))
	for _, r := range rows {
		if r.name != "" {
			described[r.name] = r.ref
		}
	}
	return described, nil
}
