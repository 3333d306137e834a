package catalog_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest/opm"
)

var (
	histories   = flag.Int("histories", 2000, "how many random histories to compare with operator-registry")
	historySeed = flag.Uint64("history-seed", 1, "the seed of the first history")
)

func TestHistoriesEndAsOperatorRegistryEndsThem(t *testing.T) {
	var next atomic.Uint64
	var tally tally
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		dir := t.TempDir()
		wg.Go(func() {
			u := &unpacked{dir: dir, all: map[string]*unpackedBundle{}}
			for {
				n := next.Add(1) - 1
				if n >= uint64(*histories) || t.Failed() {
					return
				}
				if len(u.all) > 1000 {
					clear(u.all) // what many histories share is soon there again
				}
				seed := *historySeed + n
				steps := newHistory(seed)
				if err := replay(u, steps, &tally); err != nil {
					steps, err = shrink(u, steps, err)
					t.Errorf("history %d: %v\nsteps:%s", seed, err, list(steps))
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d histories: %+v", *histories, tally.snapshot())
	if n := int64(*histories); n >= 100 && (tally.accepted.Load() < n || tally.fileCompared.Load() < 2*tally.fileSkipped.Load()) {
		t.Error("the histories do not try enough")
	}
}

func list(steps []step) string {
	out := ""
	for i, s := range steps {
		out += fmt.Sprintf("\n%2d. %s", i+1, s)
	}
	return out
}

// shrink leaves out steps, and bundles of steps, as long as the history fails.
func shrink(u *unpacked, steps []step, err error) ([]step, error) {
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range reductions(steps) {
			if e := replay(u, candidate, &tally{}); e != nil {
				steps, err, smaller = candidate, e, true
				break
			}
		}
	}
	return steps, err
}

func reductions(steps []step) [][]step {
	var out [][]step
	for i, s := range steps {
		out = append(out, slices.Delete(slices.Clone(steps), i, i+1))
		for j := range s.add {
			if len(s.add) > 1 {
				c := slices.Clone(steps)
				c[i].add = slices.Delete(slices.Clone(s.add), j, j+1)
				out = append(out, c)
			}
		}
		for j := range s.deprecate {
			if len(s.deprecate) > 1 {
				c := slices.Clone(steps)
				c[i].deprecate = slices.Delete(slices.Clone(s.deprecate), j, j+1)
				out = append(out, c)
			}
		}
	}
	return out
}

// tally counts what a run has compared.
type tally struct {
	steps, accepted, rejected, retried, fileCompared, fileSkipped, abandoned atomic.Int64
}

func (c *tally) snapshot() map[string]int64 {
	return map[string]int64{
		"steps": c.steps.Load(), "accepted": c.accepted.Load(), "rejected": c.rejected.Load(), "retried": c.retried.Load(),
		"fileCompared": c.fileCompared.Load(), "fileSkipped": c.fileSkipped.Load(), "abandoned": c.abandoned.Load(),
	}
}

// errNoCSV ends a history: after a mix of modes, operator-registry may make a
// bundle the head of the default channel whose manifests it has cleared, and
// can then no longer migrate the database. We can.
var errNoCSV = errors.New("operator-registry has cleared the head of a default channel")

// world holds one catalog three times: operator-registry's, our database, and
// our files.
type world struct {
	dir       string
	unpacked  *unpacked
	reference *opm.Reference
	database  *catalog.Database
	files     map[string]*catalog.Package
	// known are all bundles ever made, by name: those of a step are looked up.
	images map[string]string
	// forgetful packages have lost something in their files that their database
	// still knows, and are not compared until they are removed.
	forgetful map[string]bool
	// spared packages have manifests that operator-registry cleared when it
	// added to another package in a semver mode. We leave others alone.
	spared map[string]bool
}

func replay(u *unpacked, steps []step, tally *tally) error {
	dir, err := os.MkdirTemp(u.dir, "history")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &world{dir: dir, unpacked: u, files: map[string]*catalog.Package{}, images: map[string]string{}, forgetful: map[string]bool{}, spared: map[string]bool{}}
	if w.reference, err = opm.New(filepath.Join(dir, "reference.db")); err != nil {
		return err
	}
	if _, err = opm.New(filepath.Join(dir, "ours.db")); err != nil {
		return err
	}
	if w.database, err = catalog.OpenDatabase(context.Background(), filepath.Join(dir, "ours.db")); err != nil {
		return err
	}
	defer w.database.Close()
	defer w.reference.Close()
	for i, s := range steps {
		tally.steps.Add(1)
		err := w.take(s, tally)
		if errors.Is(err, errNoCSV) {
			tally.abandoned.Add(1)
			return nil
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return w.inspect()
}

// inspect lets SQLite and operator-registry read the database that we wrote.
func (w *world) inspect() error {
	path := filepath.Join(w.dir, "ours.db")
	if err := w.database.Close(); err != nil {
		return err
	}
	ours := &opm.Reference{Path: path}
	defer ours.Close()
	db, err := ours.Open()
	if err != nil {
		return err
	}
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		return fmt.Errorf("integrity check: %s, %w", verdict, err)
	}
	var violations int
	if err := db.QueryRow(`SELECT count(*) FROM pragma_foreign_key_check`).Scan(&violations); err != nil || violations > 0 {
		return fmt.Errorf("%d foreign keys are violated, %w", violations, err)
	}
	got, err := opm.Migrate(db)
	if err != nil {
		return fmt.Errorf("operator-registry cannot migrate our database: %w", err)
	}
	if db, err = w.reference.Open(); err != nil {
		return err
	}
	want, err := opm.Migrate(db)
	if err != nil {
		return err
	}
	theirs, mine := opm.Canonicalize(want), opm.Canonicalize(got)
	for pkg, is := range mine {
		if w.spared[pkg] {
			is.ClearLike(theirs[pkg])
		}
	}
	if d := cmp.Diff(theirs, mine); d != "" {
		return fmt.Errorf("operator-registry reads from our database: %s", d)
	}
	return nil
}

// outcome is what one implementation made of a step.
type outcome struct {
	packages map[string]*opm.Canonical
	err      error
}

func (w *world) take(s step, tally *tally) error {
	inputs, bundles, readErr, err := w.unpack(s.add)
	if err != nil {
		return err
	}
	var images []string
	for _, name := range s.deprecate {
		if image, ok := w.images[name]; ok {
			images = append(images, image)
		}
	}
	if len(s.deprecate) > 0 && len(images) == 0 {
		return nil
	}
	known, err := w.reference.Memory()
	if err != nil {
		return err
	}
	ours := w.ourDatabase(s, bundles, readErr, images)

	// operator-registry goes through the bundles of a request in random order,
	// and in the semver modes through the edges of each channel's head: some
	// outcomes depend on it, and ours must be one of them. Where three channels
	// each need the one of eight orders that goes well, one in 500 attempts does.
	var before []byte
	tries := 1
	if len(s.add) > 1 || s.mode != catalog.Replaces {
		tries = 6000
		if before, err = os.ReadFile(w.reference.Path); err != nil {
			return err
		}
	}
	var difference string
	var theirs outcome
	for try := range tries {
		if try > 0 {
			tally.retried.Add(1)
			if err := w.reference.Restore(before); err != nil {
				return err
			}
			rand.Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
		}
		theirs = w.referenceOutcome(s, inputs, images)
		if difference = w.compare(s, theirs, ours); difference == "" {
			break
		}
	}
	if theirs.err != nil && ours.err == nil && strings.Contains(theirs.err.Error(), "unmarshal CSV json") {
		return errNoCSV
	}
	if difference != "" {
		return errors.New("database: " + difference)
	}
	if err := w.takeFiles(s, bundles, readErr, images, known, theirs, tally); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if theirs.err != nil {
		tally.rejected.Add(1)
		return nil
	}
	tally.accepted.Add(1)
	w.spare(s, theirs)
	for _, in := range inputs {
		w.images[in.Name] = in.Image
	}
	return nil
}

// unpacked are the bundles of all histories: many have the same ones.
type unpacked struct {
	dir  string
	made int
	all  map[string]*unpackedBundle
}

type unpackedBundle struct {
	opm.Input
	read *catalog.Bundle
	err  error
}

func (u *unpacked) bundle(b catalogtest.Bundle) (*unpackedBundle, error) {
	image := b.Image("registry.example.com/ns")
	if have, ok := u.all[image]; ok {
		return have, nil
	}
	u.made++
	made := &unpackedBundle{Input: opm.Input{Bundle: b, Image: image, Dir: filepath.Join(u.dir, fmt.Sprint(u.made))}}
	if err := b.Write(made.Dir); err != nil {
		return nil, err
	}
	made.read, made.err = catalog.ReadBundle(made.Dir, image)
	u.all[image] = made
	return made, nil
}

func (w *world) unpack(add []catalogtest.Bundle) (inputs []opm.Input, bundles []*catalog.Bundle, readErr, err error) {
	for _, b := range add {
		u, err := w.unpacked.bundle(b)
		if err != nil {
			return nil, nil, nil, err
		}
		inputs = append(inputs, u.Input)
		bundles = append(bundles, u.read)
		readErr = errors.Join(readErr, u.err)
	}
	return inputs, bundles, readErr, nil
}

func (w *world) referenceOutcome(s step, inputs []opm.Input, images []string) outcome {
	var cfg *declcfg.DeclarativeConfig
	var err error
	switch {
	case len(s.remove) > 0:
		cfg, err = w.reference.Remove(s.remove...)
	case len(s.deprecate) > 0:
		cfg, err = w.reference.Deprecate(images)
	default:
		cfg, err = w.reference.Add(referenceModes[s.mode], s.overwrite, inputs)
	}
	if err != nil {
		return outcome{err: err}
	}
	return outcome{packages: opm.Canonicalize(cfg)}
}

func (w *world) ourDatabase(s step, bundles []*catalog.Bundle, readErr error, images []string) outcome {
	ctx := context.Background()
	var err error
	switch {
	case readErr != nil:
		err = readErr
	case len(s.remove) > 0:
		err = w.database.Remove(ctx, s.remove...)
	case len(s.deprecate) > 0:
		_, _, err = w.database.Deprecate(ctx, images)
	default:
		err = w.database.Add(ctx, bundles, catalog.AddOptions{Mode: s.mode, OverwriteLatest: s.overwrite})
	}
	if err != nil {
		return outcome{err: err}
	}
	out := outcome{packages: map[string]*opm.Canonical{}}
	for _, name := range w.concerned(s) {
		p, err := w.database.Package(ctx, name)
		if sdk.CodeOf(err) == sdk.NotFound {
			continue
		}
		if err != nil {
			return outcome{err: err}
		}
		if out.packages[name], err = opm.OfPackage(p); err != nil {
			return outcome{err: err}
		}
	}
	return out
}

func (w *world) compare(s step, theirs, ours outcome) string {
	if (theirs.err == nil) != (ours.err == nil) {
		return fmt.Sprintf("operator-registry says: %v\nwe say: %v", theirs.err, ours.err)
	}
	if ours.err != nil {
		if code := sdk.CodeOf(ours.err); code != sdk.Invalid && code != sdk.NotFound {
			return fmt.Sprintf("refused without a reason for the requester: %v", ours.err)
		}
		return ""
	}
	// The other packages are compared at the end.
	expected := map[string]*opm.Canonical{}
	for _, pkg := range w.concerned(s) {
		if p := theirs.packages[pkg]; p != nil {
			expected[pkg] = p
			if is := ours.packages[pkg]; is != nil && w.spared[pkg] {
				is.ClearLike(p)
			}
		}
	}
	return cmp.Diff(expected, ours.packages)
}

// spare remembers which packages an accepted step has made differ in what is
// cleared.
func (w *world) spare(s step, theirs outcome) {
	if len(s.add) == 0 || s.mode == catalog.Replaces {
		return
	}
	concerned := w.concerned(s)
	for pkg := range theirs.packages {
		w.spared[pkg] = !slices.Contains(concerned, pkg)
	}
}
