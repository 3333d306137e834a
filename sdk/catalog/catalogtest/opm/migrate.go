package opm

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/action/migrations"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
	"github.com/operator-framework/operator-registry/pkg/sqlite"
)

// Catalog is the file-based catalog that the database migrates to.
func (r *Reference) Catalog() (*declcfg.DeclarativeConfig, error) {
	db, err := r.Open()
	if err != nil {
		return nil, err
	}
	return Migrate(db)
}

// Migrate is `opm migrate --migrate-level bundle-object-to-csv-metadata`,
// followed by `opm validate`.
func Migrate(db *sql.DB) (cfg *declcfg.DeclarativeConfig, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p) // a package without default channel
		}
	}()
	model, err := sqlite.ToModel(context.Background(), sqlite.NewSQLLiteQuerierFromDb(db))
	if err != nil {
		return nil, err
	}
	c := declcfg.ConvertFromModel(model)
	rows, err := db.Query("SELECT DISTINCT operatorbundle_name, image FROM related_image ORDER BY image")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	images := map[string][]string{}
	for rows.Next() {
		var name, image string
		if err := rows.Scan(&name, &image); err != nil {
			return nil, err
		}
		images[name] = append(images[name], image)
	}
	for i := range c.Bundles {
		b := &c.Bundles[i]
		for _, image := range images[b.Name] {
			if !slices.ContainsFunc(b.RelatedImages, func(ri declcfg.RelatedImage) bool { return ri.Image == image }) {
				b.RelatedImages = append(b.RelatedImages, declcfg.RelatedImage{Image: image})
			}
		}
		slices.SortStableFunc(b.RelatedImages, func(a, b declcfg.RelatedImage) int { return cmp.Compare(a.Image, b.Image) })
		slices.SortStableFunc(b.Properties, func(a, b property.Property) int {
			return cmp.Compare(boolInt(a.Type == property.TypeBundleObject), boolInt(b.Type == property.TypeBundleObject))
		})
	}
	level, err := migrations.NewMigrations("bundle-object-to-csv-metadata")
	if err != nil {
		return nil, err
	}
	if err := level.Migrate(&c); err != nil {
		return nil, err
	}
	if _, err := declcfg.ConvertToModel(c); err != nil {
		return nil, err
	}
	return &c, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
