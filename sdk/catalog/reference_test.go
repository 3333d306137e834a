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
	"strings"
	"sync"

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
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

func init() { logrus.SetOutput(io.Discard) }

// reference is operator-registry's own way to edit a catalog: its populator,
// remover and deprecator on a database, then its migration to a file-based
// catalog. Nothing of the package under test is used here.
type reference struct {
	path string
	db   *sql.DB
}

// emptyDatabase returns the bytes of a database without packages.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "catalog")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &reference{path: filepath.Join(dir, "empty.db")}
	db, err := r.open()
	if err != nil {
		return nil, err
	}
	loader, err := sqlite.NewSQLLiteLoader(db)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(loader.Migrate(context.Background()), r.close()); err != nil {
		return nil, err
	}
	return os.ReadFile(r.path)
})

func newReference(path string) (*reference, error) {
	empty, err := emptyDatabase()
	if err != nil {
		return nil, err
	}
	return &reference{path: path}, os.WriteFile(path, empty, 0o644)
}

func (r *reference) open() (*sql.DB, error) {
	if r.db != nil {
		return r.db, nil
	}
	var err error
	r.db, err = sql.Open("sqlite", "file:"+r.path+"?_pragma=foreign_keys(1)&_pragma=synchronous(off)&_pragma=journal_mode(memory)&_pragma=busy_timeout(0)")
	return r.db, err
}

func (r *reference) close() error {
	if r.db == nil {
		return nil
	}
	err := r.db.Close()
	r.db = nil
	return err
}

// attempt runs an edit as IIB does: the database is put back if it fails, and
// the outcome must survive the migration.
func (r *reference) attempt(edit func(*sql.DB) error) (*declcfg.DeclarativeConfig, error) {
	return r.attemptOnly(edit, true)
}

// attemptOnly leaves the migration out if it is not wanted: it takes long for
// large packages.
func (r *reference) attemptOnly(edit func(*sql.DB) error, wanted bool) (*declcfg.DeclarativeConfig, error) {
	before, err := os.ReadFile(r.path)
	if err != nil {
		return nil, err
	}
	db, err := r.open()
	if err != nil {
		return nil, err
	}
	if err := edit(db); err != nil {
		return nil, errors.Join(err, r.restore(before))
	}
	if !wanted {
		return nil, nil
	}
	cfg, err := migrate(db)
	if err != nil {
		return nil, errors.Join(err, r.restore(before))
	}
	return cfg, nil
}

// restore puts the bytes of the database back.
func (r *reference) restore(before []byte) error {
	return errors.Join(r.close(), os.WriteFile(r.path, before, 0o644))
}

// rows returns what the database knows about the bundles of a package.
func (r *reference) rows(pkg string) (map[string]catalog.Edges, error) {
	db, err := r.open()
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(`SELECT name, replaces, skiprange, substitutesfor, skips FROM operatorbundle WHERE name IN
		(SELECT operatorbundle_name FROM properties WHERE type = 'olm.package' AND json_extract(value, '$.packageName') = ?)
		AND name NOT IN (SELECT operatorbundle_name FROM deprecated)`, pkg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]catalog.Edges{}
	for rows.Next() {
		var name, skips string
		var e catalog.Edges
		if err := rows.Scan(&name, &e.Replaces, &e.SkipRange, &e.SubstitutesFor, &skips); err != nil {
			return nil, err
		}
		if skips != "" {
			e.Skips = strings.Split(skips, ",")
			slices.Sort(e.Skips)
		}
		out[name] = e
	}
	return out, rows.Err()
}

// memory is what the database knows that files do not.
type memory struct {
	// deprecated are the bundles that are kept for upgrades only.
	deprecated map[string]bool
	// owners maps all names in upgrade graphs to their packages.
	owners map[string]string
}

func (r *reference) memory() (*memory, error) {
	db, err := r.open()
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(`SELECT operatorbundle_name, '' FROM deprecated UNION SELECT operatorbundle_name, package_name FROM channel_entry`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := &memory{map[string]bool{}, map[string]string{}}
	for rows.Next() {
		var name, owner string
		if err := rows.Scan(&name, &owner); err != nil {
			return nil, err
		}
		if owner == "" {
			m.deprecated[name] = true
		} else {
			m.owners[name] = owner
		}
	}
	return m, rows.Err()
}

// input is a bundle image that has been unpacked.
type input struct {
	catalogtest.Bundle
	image, dir string
}

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
	for _, in := range inputs {
		dirs[image.SimpleReference(in.image)] = in.dir
		if !overwrite {
			continue
		}
		path, err := query.GetBundlePathIfExists(context.Background(), in.Name)
		if errors.Is(err, registry.ErrBundleImageNotInDatabase) {
			continue
		}
		if err != nil || path == "" {
			return fmt.Errorf("cannot be overwritten: %v", err)
		}
		overwritten[in.Package] = append(overwritten[in.Package], in.Name)
	}
	if err := registry.NewDirectoryPopulator(loader, graphs, query, dirs, overwritten).Populate(mode); err != nil {
		return err
	}
	return allReachable(graphs, inputs)
}

// allReachable is opm's last check of an add. opm searches without end if the
// graph has a circle; here the search notices what it has seen.
func allReachable(graphs registry.GraphLoader, added []input) error {
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
				found = queue[0].BundlePath == b.image
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
		return loader.RemoveStrandedBundles()
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

// clearLike takes from bundles what operator-registry's semver modes clear,
// where the other package has it cleared.
func (c *canonical) clearLike(other *canonical) {
	if other == nil {
		return
	}
	for name, doc := range c.Bundles {
		if strings.Contains(other.Bundles[name], property.TypeCSVMetadata) {
			continue
		}
		var b declcfg.Bundle
		if err := json.Unmarshal([]byte(doc), &b); err != nil {
			panic(err) // it was encoded from one
		}
		b.Properties = slices.DeleteFunc(b.Properties, func(p property.Property) bool { return p.Type == property.TypeCSVMetadata })
		for i := range b.RelatedImages {
			b.RelatedImages[i].Name = ""
		}
		data, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		c.Bundles[name] = string(data)
	}
}

func canonicalPackage(p *catalog.Package) (*canonical, error) {
	cfg, err := p.Config()
	if err != nil {
		return nil, err
	}
	return canonicalize(cfg)[p.Name], nil
}
