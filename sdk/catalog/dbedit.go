package catalog

import (
	"context"
	"slices"

	"github.com/iib-engine/iib/sdk"
)

// Add puts the bundles of one request, which may be of several packages, into
// the database: all of them or, after an error, none. The outcome does not
// depend on their order.
//
// A package that could be migrated to the file-based form before can be
// migrated afterwards. Databases of old may have packages that cannot; what is
// wrong with those does not stop an add.
func (d *Database) Add(ctx context.Context, bundles []*Bundle, opts AddOptions) error {
	groups, err := Group(bundles)
	if err != nil {
		return err
	}
	return d.edit(ctx, "add bundles", func(t *dbtx) error {
		for _, group := range groups {
			pkg := group[0].Package
			if err := t.editPackage(pkg, func() error { return t.addGroup(pkg, group, opts) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// editPackage runs an edit of one package and checks that the package can
// still be published. One that could not be before is edited all the same.
// The edit may run twice, from the same state.
func (t *dbtx) editPackage(pkg string, change func() error) error {
	if err := t.exec(`SAVEPOINT package`); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	_, after := renderPackage(t.ctx, t, pkg)
	if after == nil {
		return t.exec(`RELEASE package`)
	}
	if err := t.exec(`ROLLBACK TO package`); err != nil {
		return err
	}
	if _, before := renderPackage(t.ctx, t, pkg); before == nil || sdk.CodeOf(before) == sdk.NotFound {
		return after
	}
	if err := change(); err != nil {
		return err
	}
	return t.exec(`RELEASE package`)
}

func (t *dbtx) addGroup(pkg string, bundles []*Bundle, opts AddOptions) error {
	g, err := loadGraph(t.ctx, t, pkg)
	if err != nil {
		return err
	}
	owners, err := t.owners(pkg)
	if err != nil {
		return err
	}
	g.foreign = func(bundle string) (string, bool) {
		owner, ok := owners[bundle]
		return owner, ok
	}
	before := g.cloneNodes()
	if err := g.add(bundles, opts); err != nil {
		return err
	}
	return t.storeGraph(g, before)
}

// owners maps the bundles of all other packages to them.
func (t *dbtx) owners(pkg string) (map[string]string, error) {
	pairs, err := collect(t.ctx, t, scanPair, `SELECT DISTINCT operatorbundle_name, package_name FROM channel_entry WHERE package_name <> ?`, pkg)
	if err != nil {
		return nil, err
	}
	owners := make(map[string]string, len(pairs))
	for _, p := range pairs {
		owners[p[0]] = p[1]
	}
	return owners, nil
}

// Remove deletes whole packages, and with them all bundles that are in no
// channel of any package. If one of the packages is not there, nothing is
// deleted and an error of code sdk.NotFound names all that are missing.
func (d *Database) Remove(ctx context.Context, packages ...string) error {
	err := d.edit(ctx, "remove packages", func(t *dbtx) error {
		for _, pkg := range packages {
			if err := t.removePackage(pkg); err != nil {
				return err
			}
		}
		return t.removeStranded()
	})
	if err != nil {
		return err
	}
	return d.compact(ctx)
}

func (t *dbtx) removePackage(pkg string) error {
	names, err := collect(t.ctx, t, scanText, `SELECT DISTINCT operatorbundle_name FROM channel_entry WHERE package_name = ? ORDER BY 1`, pkg)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errNotListed(pkg)
	}
	for _, query := range []string{
		`DELETE FROM package WHERE name = ?`,
		`DELETE FROM channel WHERE package_name = ?`,
		`DELETE FROM channel_entry WHERE package_name = ?`,
	} {
		if err := t.exec(query, pkg); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := t.deleteBundle(name); err != nil {
			return err
		}
	}
	return nil
}

// removeStranded deletes bundles that nothing refers to any more.
func (t *dbtx) removeStranded() error {
	stranded, err := collect(t.ctx, t, scanText, `SELECT name FROM operatorbundle
		WHERE name NOT IN (SELECT operatorbundle_name FROM channel_entry)
		AND name NOT IN (SELECT operatorbundle_name FROM deprecated) ORDER BY name`)
	if err != nil {
		return err
	}
	// Deprecated bundles outlive their channels, but not their package.
	orphans, err := collect(t.ctx, t, scanText, `SELECT DISTINCT operatorbundle_name FROM properties
		WHERE type = 'olm.package' AND CASE WHEN json_valid(CAST(value AS TEXT))
			THEN json_extract(CAST(value AS TEXT), '$.packageName') NOT IN (SELECT name FROM package) END ORDER BY 1`)
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(stranded, orphans) {
		if err := t.deleteBundle(name); err != nil {
			return err
		}
	}
	return t.exec(`DELETE FROM deprecated WHERE operatorbundle_name NOT IN (SELECT name FROM operatorbundle)`)
}

// compact rewrites the file when more than a quarter of it is empty. Below
// that, the layer of the next index has more to gain from pages that stay
// where they are.
func (d *Database) compact(ctx context.Context) error {
	var free, total int64
	if err := d.db.QueryRowContext(ctx, `PRAGMA freelist_count`).Scan(&free); err != nil {
		return d.wrap("count the free pages", err)
	}
	if err := d.db.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&total); err != nil {
		return d.wrap("count the pages", err)
	}
	if 4*free <= total {
		return nil
	}
	_, err := d.db.ExecContext(ctx, `VACUUM`)
	return d.wrap("compact", err)
}

// Deprecate cuts upgrade graphs off below the bundles with the given pull
// specs, in their order: what they replace goes, they themselves stay for
// upgrades and are no longer published. A package whose channels' heads are
// all given is deleted; to give the head of the default channel and not the
// others is an error. It returns the packages that were edited and, apart from
// them, those that are gone.
func (d *Database) Deprecate(ctx context.Context, images []string) (edited, gone []string, err error) {
	err = d.edit(ctx, "deprecate bundles", func(t *dbtx) error {
		byPackage, order, err := t.packagesOf(images)
		if err != nil {
			return err
		}
		for _, pkg := range order {
			removed, err := t.deprecateIn(pkg, byPackage[pkg])
			if err != nil {
				return err
			}
			if removed {
				gone = append(gone, pkg)
			} else {
				edited = append(edited, pkg)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return edited, gone, d.compact(ctx)
}

// packagesOf groups pull specs by package, keeping their order.
func (t *dbtx) packagesOf(images []string) (map[string][]string, []string, error) {
	refs, err := listBundles(t.ctx, t, true)
	if err != nil {
		return nil, nil, err
	}
	owner := map[string]string{}
	for _, ref := range refs {
		owner[ref.Image] = ref.Package
	}
	byPackage := map[string][]string{}
	var order []string
	for _, image := range images {
		pkg, ok := owner[image]
		if !ok {
			return nil, nil, sdk.Errorf(sdk.NotFound, "bundle %s cannot be deprecated: it is not in the index", image)
		}
		if byPackage[pkg] == nil {
			order = append(order, pkg)
		}
		byPackage[pkg] = append(byPackage[pkg], image)
	}
	return byPackage, order, nil
}

func (t *dbtx) deprecateIn(pkg string, images []string) (bool, error) {
	g, err := loadGraph(t.ctx, t, pkg)
	if err != nil {
		return false, err
	}
	gone, err := g.deprecatesAll(images)
	if err != nil {
		return false, err
	}
	if gone {
		if err := t.removePackage(pkg); err != nil {
			return false, err
		}
		return true, t.removeStranded()
	}
	return false, t.editPackage(pkg, func() error {
		g, err := loadGraph(t.ctx, t, pkg)
		if err != nil {
			return err
		}
		before := g.cloneNodes()
		if err := g.deprecate(images); err != nil {
			return err
		}
		return t.storeGraph(g, before)
	})
}
