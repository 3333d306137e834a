package catalog_test

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/action/migrations"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
	"github.com/operator-framework/operator-registry/pkg/api"
	"github.com/operator-framework/operator-registry/pkg/image"
	"github.com/operator-framework/operator-registry/pkg/registry"
	"github.com/operator-framework/operator-registry/pkg/sqlite"
	"github.com/sirupsen/logrus"
	_ "modernc.org/sqlite"

	"github.com/iib-engine/iib/sdk/catalog"
)

func init() { logrus.SetOutput(io.Discard) }

// reference is operator-registry's own way to edit a catalog: its populator,
// remover and deprecator on a database, then its migration to a file-based
// catalog. Nothing of the package under test is used here.
type reference struct{ path string }

func newReference(path string) (*reference, error) {
	r := &reference{path}
	return r, r.with(func(db *sql.DB) error {
		loader, err := sqlite.NewSQLLiteLoader(db)
		if err != nil {
			return err
		}
		return loader.Migrate(context.Background())
	})
}

func (r *reference) with(do func(*sql.DB) error) error {
	db, err := sql.Open("sqlite", "file:"+r.path+"?_pragma=foreign_keys(1)&_pragma=synchronous(off)&_pragma=journal_mode(memory)&_pragma=busy_timeout(0)")
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

// attempt runs an edit as IIB does: the database is put back if it fails, and
// the outcome must survive the migration.
func (r *reference) attempt(edit func(*sql.DB) error) (*declcfg.DeclarativeConfig, error) {
	before, err := os.ReadFile(r.path)
	if err != nil {
		return nil, err
	}
	var cfg *declcfg.DeclarativeConfig
	err = r.with(func(db *sql.DB) error {
		if err := edit(db); err != nil {
			return err
		}
		var err error
		cfg, err = migrate(db)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, os.WriteFile(r.path, before, 0o644))
	}
	return cfg, nil
}

// input is a bundle image that has been unpacked.
type input struct{ image, dir string }

func (r *reference) add(mode registry.Mode, overwrite bool, inputs []input) (*declcfg.DeclarativeConfig, error) {
	return r.attempt(func(db *sql.DB) error { return referenceAdd(db, mode, overwrite, inputs) })
}

func referenceAdd(db *sql.DB, mode registry.Mode, overwrite bool, inputs []input) error {
	loader, err := sqlite.NewSQLLiteLoader(db, sqlite.WithEnableAlpha(true))
	if err != nil {
		return err
	}
	graphs, err := sqlite.NewSQLGraphLoaderFromDB(db)
	if err != nil {
		return err
	}
	query := sqlite.NewSQLLiteQuerierFromDb(db)
	dirs := map[image.Reference]string{}
	overwritten := map[string][]string{}
	var added []*registry.Bundle
	for _, in := range inputs {
		ref := image.SimpleReference(in.image)
		parsed, err := registry.NewImageInput(ref, in.dir)
		if err != nil {
			return err
		}
		dirs[ref] = in.dir
		added = append(added, parsed.Bundle)
		if !overwrite {
			continue
		}
		path, err := query.GetBundlePathIfExists(context.Background(), parsed.Bundle.Name)
		if errors.Is(err, registry.ErrBundleImageNotInDatabase) {
			continue
		}
		if err != nil || path == "" {
			return fmt.Errorf("cannot be overwritten: %v", err)
		}
		overwritten[parsed.Bundle.Package] = append(overwritten[parsed.Bundle.Package], parsed.Bundle.Name)
	}
	if err := registry.NewDirectoryPopulator(loader, graphs, query, dirs, overwritten).Populate(mode); err != nil {
		return err
	}
	return allReachable(graphs, added)
}

// allReachable is opm's last check of an add. opm searches without end if the
// graph has a circle; here the search notices what it has seen.
func allReachable(graphs registry.GraphLoader, added []*registry.Bundle) error {
	for _, b := range added {
		graph, err := graphs.Generate(b.Package)
		if err != nil {
			return err
		}
		for _, name := range b.Channels {
			ch := graph.Channels[name]
			seen := map[registry.BundleKey]bool{}
			found := false
			for queue := []registry.BundleKey{ch.Head}; len(queue) > 0 && !found; queue = queue[1:] {
				found = queue[0].BundlePath == b.BundleImage
				for next := range ch.Nodes[queue[0]] {
					if !seen[next] {
						seen[next] = true
						queue = append(queue, next)
					}
				}
			}
			if !found {
				return fmt.Errorf("add prunes bundle %s from channel %s", b.Name, name)
			}
		}
	}
	return nil
}

func (r *reference) remove(pkgs ...string) (*declcfg.DeclarativeConfig, error) {
	return r.attempt(func(db *sql.DB) error {
		loader, err := sqlite.NewDeprecationAwareLoader(db)
		if err != nil {
			return err
		}
		for _, pkg := range pkgs {
			if err := sqlite.NewSQLRemoverForPackages(loader, pkg).Remove(); err != nil {
				return err
			}
		}
		return sqlite.NewSQLStrandedBundleRemover(loader).Remove()
	})
}

func (r *reference) deprecate(images []string) (*declcfg.DeclarativeConfig, error) {
	return r.attempt(func(db *sql.DB) error {
		loader, err := sqlite.NewDeprecationAwareLoader(db)
		if err != nil {
			return err
		}
		query := sqlite.NewSQLLiteQuerierFromDb(db)
		present, err := query.ListBundles(context.Background())
		if err != nil {
			return err
		}
		for _, image := range images {
			if !slices.ContainsFunc(present, func(b *api.Bundle) bool { return b.BundlePath == image }) {
				return fmt.Errorf("bundle %s is missing", image)
			}
		}
		bundles := sqlite.NewSQLDeprecatorForBundles(loader, images)
		packages := sqlite.NewSQLDeprecatorForBundlesAndPackages(bundles, query)
		if err := packages.MaybeRemovePackages(); err != nil {
			return err
		}
		return bundles.Deprecate()
	})
}

// migrate is `opm migrate --migrate-level bundle-object-to-csv-metadata`,
// followed by `opm validate`.
func migrate(db *sql.DB) (cfg *declcfg.DeclarativeConfig, err error) {
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

// canonical is the content of one package in a form that compares: what is a
// set is sorted, JSON values are as short as they can be.
type canonical struct {
	DefaultChannel string
	Icon           string
	Channels       map[string]map[string]declcfg.ChannelEntry
	Bundles        map[string]string
}

func canonicalize(cfg *declcfg.DeclarativeConfig) map[string]*canonical {
	out := map[string]*canonical{}
	for _, p := range cfg.Packages {
		c := &canonical{DefaultChannel: p.DefaultChannel, Channels: map[string]map[string]declcfg.ChannelEntry{}, Bundles: map[string]string{}}
		if p.Icon != nil {
			c.Icon = p.Icon.MediaType + ":" + string(p.Icon.Data)
		}
		out[p.Name] = c
	}
	for _, ch := range cfg.Channels {
		entries := map[string]declcfg.ChannelEntry{}
		for _, e := range ch.Entries {
			slices.Sort(e.Skips)
			if len(e.Skips) == 0 {
				e.Skips = nil
			}
			entries[e.Name] = e
		}
		out[ch.Package].Channels[ch.Name] = entries
	}
	for _, b := range cfg.Bundles {
		data, err := json.Marshal(b)
		if err != nil {
			panic(err) // it was decoded from JSON
		}
		out[b.Package].Bundles[b.Name] = string(data)
	}
	return out
}

func canonicalPackage(p *catalog.Package) (*canonical, error) {
	cfg, err := p.Config()
	if err != nil {
		return nil, err
	}
	return canonicalize(cfg)[p.Name], nil
}

// snapshot copies the reference, so that a step can be tried again.
func (r *reference) snapshot(path string) (*reference, error) {
	data, err := os.ReadFile(r.path)
	if err != nil {
		return nil, err
	}
	return &reference{path}, os.WriteFile(path, data, 0o644)
}

func (r *reference) restore(from *reference) error {
	data, err := os.ReadFile(from.path)
	if err != nil {
		return err
	}
	return os.WriteFile(r.path, data, 0o644)
}

func tempDatabase(dir, name string) string { return filepath.Join(dir, name) }
