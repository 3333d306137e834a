package catalog_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest/opm"
)

// takeFiles makes the step in the file-based catalog and compares the outcome
// with operator-registry's database.
//
// Files know less than a database. A package is left out of the comparison
// from the moment that the database knows more about its bundles than the
// files say, until it is removed.
func (w *world) takeFiles(s step, bundles []*catalog.Bundle, readErr error, images []string, known *opm.Memory, theirs outcome, tally *tally) error {
	concerned := w.concerned(s)
	for _, pkg := range concerned {
		if w.forgetful[pkg] {
			tally.fileSkipped.Add(1)
			w.leaveOut(concerned, theirs)
			return nil
		}
	}
	named := slices.Clone(s.deprecate)
	for _, b := range s.add {
		named = append(named, b.Name)
	}
	if slices.ContainsFunc(named, func(name string) bool { return known.Deprecated[name] }) {
		// Files do not remember which bundles were deprecated.
		tally.fileSkipped.Add(1)
		w.leaveOut(concerned, theirs)
		return nil
	}
	tally.fileCompared.Add(1)
	edited, err := w.ourFiles(s, bundles, readErr, images, known.Owners)
	if (err == nil) != (theirs.err == nil) {
		return fmt.Errorf("operator-registry says: %v\nwe say: %v", theirs.err, err)
	}
	if err != nil {
		if code := sdk.CodeOf(err); code != sdk.Invalid && code != sdk.NotFound {
			return fmt.Errorf("refused without a reason for the requester: %w", err)
		}
		return nil
	}
	for pkg, p := range edited {
		if p.Empty() {
			delete(w.files, pkg)
		} else {
			w.files[pkg] = p
		}
	}
	for _, pkg := range concerned {
		if err := w.compareFile(pkg, theirs.packages[pkg], s); err != nil {
			return err
		}
	}
	return w.forget(concerned, theirs)
}

// concerned are the packages of a step.
func (w *world) concerned(s step) []string {
	set := map[string]bool{}
	for _, pkg := range s.remove {
		set[pkg] = true
	}
	for _, b := range s.add {
		set[b.Package] = true
	}
	for _, name := range s.deprecate {
		set[name[:3]] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func (w *world) ourFiles(s step, bundles []*catalog.Bundle, readErr error, images []string, owners map[string]string) (map[string]*catalog.Package, error) {
	edited := map[string]*catalog.Package{}
	switch {
	case readErr != nil:
		return nil, readErr
	case len(s.remove) > 0:
		for _, pkg := range s.remove {
			if w.files[pkg].Empty() {
				return nil, sdk.Errorf(sdk.NotFound, "package %s is not in the catalog", pkg)
			}
			edited[pkg] = nil
		}
		return edited, nil
	case len(s.deprecate) > 0:
		return w.deprecateInFiles(images)
	}
	groups, err := catalog.Group(bundles)
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		pkg := group[0].Package
		opts := catalog.AddOptions{Mode: s.mode, OverwriteLatest: s.overwrite, Owner: func(name string) (string, bool) {
			owner, ok := owners[name]
			return owner, ok && owner != pkg
		}}
		if edited[pkg], err = catalog.Add(w.files[pkg], group, opts); err != nil {
			return nil, err
		}
	}
	return edited, nil
}

// deprecateInFiles asks each package about its own bundles.
func (w *world) deprecateInFiles(images []string) (map[string]*catalog.Package, error) {
	byPackage := map[string][]string{}
	for _, image := range images {
		found := false
		for pkg, p := range w.files {
			cfg, err := p.Config()
			if err != nil {
				return nil, err
			}
			for _, b := range cfg.Bundles {
				if b.Image == image {
					byPackage[pkg] = append(byPackage[pkg], image)
					found = true
				}
			}
		}
		if !found {
			return nil, sdk.Errorf(sdk.NotFound, "bundle %s is not in the catalog", image)
		}
	}
	edited := map[string]*catalog.Package{}
	for pkg, images := range byPackage {
		var err error
		if edited[pkg], err = catalog.Deprecate(w.files[pkg], images); err != nil {
			return nil, err
		}
	}
	return edited, nil
}

func (w *world) compareFile(pkg string, theirs *opm.Canonical, s step) error {
	var ours *opm.Canonical
	if p := w.files[pkg]; !p.Empty() {
		var err error
		if ours, err = opm.OfPackage(p); err != nil {
			return err
		}
	}
	if ours != nil && w.spared[pkg] {
		ours.ClearLike(theirs)
	}
	if ours != nil && theirs != nil && ours.Icon != theirs.Icon {
		// Files have no icons but that of the head: an old bundle that becomes
		// the head does not bring its own.
		if slices.ContainsFunc(s.add, func(b catalogtest.Bundle) bool { return theirs.Icon == "image/png:"+b.Name }) {
			return fmt.Errorf("package %s has the icon %q, not %q", pkg, ours.Icon, theirs.Icon)
		}
		copied := *theirs
		copied.Icon = ours.Icon
		theirs = &copied
	}
	if d := cmp.Diff(theirs, ours); d != "" {
		return fmt.Errorf("package %s: %s", pkg, d)
	}
	return nil
}

// leaveOut stops comparing the packages of a step that was not made in files.
func (w *world) leaveOut(packages []string, theirs outcome) {
	for _, pkg := range packages {
		if theirs.err == nil {
			delete(w.files, pkg)
			w.forgetful[pkg] = theirs.packages[pkg] != nil
		}
	}
}

// forget marks the packages about which the files do not say everything.
func (w *world) forget(packages []string, theirs outcome) error {
	if theirs.err != nil {
		return nil
	}
	known, err := w.reference.Memory()
	if err != nil {
		return err
	}
	for _, pkg := range packages {
		if theirs.packages[pkg] == nil {
			delete(w.forgetful, pkg)
			delete(w.files, pkg)
			continue
		}
		rows, err := w.reference.Rows(pkg)
		if err != nil {
			return err
		}
		said, err := catalog.FileEdges(w.files[pkg])
		if err != nil {
			return err
		}
		var inFiles map[string]opm.Edges
		if said != nil {
			inFiles = make(map[string]opm.Edges)
		}
		for name, e := range said {
			inFiles[name] = opm.Edges(e)
		}
		w.forgetful[pkg] = !cmp.Equal(rows, inFiles)
		for _, e := range said {
			// That a skipped bundle is deprecated cannot be seen.
			if slices.ContainsFunc(e.Skips, func(name string) bool { return known.Deprecated[name] }) {
				w.forgetful[pkg] = true
			}
		}
	}
	return nil
}
