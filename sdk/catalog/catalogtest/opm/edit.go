package opm

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/pkg/api"
	"github.com/operator-framework/operator-registry/pkg/image"
	"github.com/operator-framework/operator-registry/pkg/registry"
	"github.com/operator-framework/operator-registry/pkg/sqlite"

	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

// Input is a bundle image, of which Dir has the unpacked files.
type Input struct {
	catalogtest.Bundle
	Image, Dir string
}

// Add adds bundles in one go, as opm registry add does, and returns the catalog
// after it.
func (r *Reference) Add(mode registry.Mode, overwrite bool, inputs []Input) (*declcfg.DeclarativeConfig, error) {
	return r.Attempt(func(db *sql.DB) error { return Add(db, mode, overwrite, inputs) })
}

// Add adds bundles to a database, without the migration.
func Add(db *sql.DB, mode registry.Mode, overwrite bool, inputs []Input) error {
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
		dirs[image.SimpleReference(in.Image)] = in.Dir
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
func allReachable(graphs registry.GraphLoader, added []Input) error {
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
				found = queue[0].BundlePath == b.Image
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

// Remove removes packages, as opm registry rm does.
func (r *Reference) Remove(pkgs ...string) (*declcfg.DeclarativeConfig, error) {
	return r.Attempt(func(db *sql.DB) error {
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

// Deprecate deprecates bundles by their images, as opm registry
// deprecatetruncate does.
func (r *Reference) Deprecate(images []string) (*declcfg.DeclarativeConfig, error) {
	return r.Attempt(func(db *sql.DB) error {
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
