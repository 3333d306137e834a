package opm

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/pkg/sqlite"
	"github.com/sirupsen/logrus"
	_ "modernc.org/sqlite"
)

func init() { logrus.SetOutput(io.Discard) }

// Reference is operator-registry's own way to edit a catalog: its populator,
// remover and deprecator on a database, then its migration to a file-based
// catalog. Nothing of the package under test is used here.
type Reference struct {
	// Path is the file of the database.
	Path string
	db   *sql.DB
}

// emptyDatabase returns the bytes of a database without packages.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "catalog")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &Reference{Path: filepath.Join(dir, "empty.db")}
	db, err := r.Open()
	if err != nil {
		return nil, err
	}
	loader, err := sqlite.NewSQLLiteLoader(db)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(loader.Migrate(context.Background()), r.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(r.Path)
})

// New makes a database without packages in a file.
func New(path string) (*Reference, error) {
	empty, err := emptyDatabase()
	if err != nil {
		return nil, err
	}
	return &Reference{Path: path}, os.WriteFile(path, empty, 0o644)
}

// Open returns the database, which stays open until Close or Restore.
func (r *Reference) Open() (*sql.DB, error) {
	if r.db != nil {
		return r.db, nil
	}
	var err error
	r.db, err = sql.Open("sqlite", "file:"+r.Path+"?_pragma=foreign_keys(1)&_pragma=synchronous(off)&_pragma=journal_mode(memory)&_pragma=busy_timeout(0)")
	return r.db, err
}

// Close closes the database if it is open; it can be opened again.
func (r *Reference) Close() error {
	if r.db == nil {
		return nil
	}
	err := r.db.Close()
	r.db = nil
	return err
}

// Attempt runs an edit as IIB does: the database is put back if it fails, and
// the outcome must survive the migration.
func (r *Reference) Attempt(edit func(*sql.DB) error) (*declcfg.DeclarativeConfig, error) {
	return r.AttemptOnly(edit, true)
}

// AttemptOnly leaves the migration out if it is not wanted: it takes long for
// large packages.
func (r *Reference) AttemptOnly(edit func(*sql.DB) error, wanted bool) (*declcfg.DeclarativeConfig, error) {
	before, err := os.ReadFile(r.Path)
	if err != nil {
		return nil, err
	}
	db, err := r.Open()
	if err != nil {
		return nil, err
	}
	if err := edit(db); err != nil {
		return nil, errors.Join(err, r.Restore(before))
	}
	if !wanted {
		return nil, nil
	}
	cfg, err := Migrate(db)
	if err != nil {
		return nil, errors.Join(err, r.Restore(before))
	}
	return cfg, nil
}

// Restore puts the bytes of the database back.
func (r *Reference) Restore(before []byte) error {
	return errors.Join(r.Close(), os.WriteFile(r.Path, before, 0o644))
}

// Edges are what the database knows about a bundle's place in upgrade graphs.
type Edges struct {
	Replaces, SkipRange, SubstitutesFor string
	Skips                               []string
}

// Rows returns what the database knows about the bundles of a package.
func (r *Reference) Rows(pkg string) (map[string]Edges, error) {
	db, err := r.Open()
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
	out := map[string]Edges{}
	for rows.Next() {
		var name, skips string
		var e Edges
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

// Memory is what the database knows that files do not.
type Memory struct {
	// Deprecated are the bundles that are kept for upgrades only.
	Deprecated map[string]bool
	// Owners maps all names in upgrade graphs to their packages.
	Owners map[string]string
}

// Memory returns it for all packages.
func (r *Reference) Memory() (*Memory, error) {
	db, err := r.Open()
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(`SELECT operatorbundle_name, '' FROM deprecated UNION SELECT operatorbundle_name, package_name FROM channel_entry`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := &Memory{map[string]bool{}, map[string]string{}}
	for rows.Next() {
		var name, owner string
		if err := rows.Scan(&name, &owner); err != nil {
			return nil, err
		}
		if owner == "" {
			m.Deprecated[name] = true
		} else {
			m.Owners[name] = owner
		}
	}
	return m, rows.Err()
}
