package index

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog/tree"
)

// Fragment is an image that holds the catalog of one or a few operators.
type Fragment struct {
	Spec    string
	Pinned  string
	Created time.Time
	Tree    *tree.Tree
}

// Fragments reads fragment images. Each directory of a fragment must be named
// for the operator whose catalog it has, nothing else may lie beside them, and
// no operator may be in two fragments.
func (s *Session) Fragments(ctx context.Context, specs []string) ([]*Fragment, error) {
	fragments := make([]*Fragment, len(specs))
	err := each(ctx, len(specs), func(ctx context.Context, i int) (err error) {
		fragments[i], err = s.fragment(ctx, specs[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	return fragments, checkOwners(fragments)
}

// checkOwners refuses fragments of which two have the same package: which one
// counts would be a guess.
func checkOwners(fragments []*Fragment) error {
	owners := make(map[string]*Fragment)
	for _, f := range fragments {
		for _, name := range f.Tree.Packages() {
			if other := owners[name]; other != nil {
				return sdk.FieldErrorf("fbc_fragments", "fragments %s and %s both have the package %s: leave one of them out", other.Spec, f.Spec, name)
			}
			owners[name] = f
		}
	}
	return nil
}

func (s *Session) fragment(ctx context.Context, spec string) (*Fragment, error) {
	m, err := s.Client.Resolve(ctx, spec)
	if err != nil {
		return nil, err
	}
	info, err := s.Client.InspectManifest(ctx, m, "")
	if err != nil {
		return nil, err
	}
	f := &Fragment{Spec: spec, Pinned: repository(spec) + "@" + string(m.Digest), Created: info.Created}
	f.Tree, err = s.stores.trees.Import(ctx, contentKey(info, configsDir), func(ctx context.Context, add func(tree.File) error) error {
		dir, err := os.MkdirTemp(s.Job.Workspace, "fragment-")
		if err != nil {
			return sdk.Errorf(sdk.Unavailable, "make a directory for fragment %s: %v", spec, err)
		}
		defer os.RemoveAll(dir)
		err = s.Client.Files(info).Extract(ctx, dir, configsDir)
		if sdk.CodeOf(err) == sdk.NotFound {
			return sdk.Errorf(sdk.Invalid, "image %s is no fragment: it has no directory %s", spec, configsDir)
		}
		if err != nil {
			return err
		}
		return tree.FromFS(os.DirFS(filepath.Join(dir, configsDir)))(ctx, add)
	})
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeOf(err), "fragment %s: %v", spec, err)
	}
	return f, checkFragment(f)
}

// checkFragment judges a fragment's layout.
func checkFragment(f *Fragment) error {
	packages := f.Tree.Packages()
	if len(packages) == 0 {
		return sdk.Errorf(sdk.Invalid, "fragment %s has no packages in %s", f.Spec, configsDir)
	}
	for _, name := range packages {
		if err := tree.CheckPackageName(name); err != nil {
			return sdk.Errorf(sdk.Invalid, "fragment %s: %v", f.Spec, err)
		}
	}
	for name := range f.Tree.Files() {
		// opm itself reads this file, wherever it lies.
		if filepath.Base(name) == ".indexignore" {
			continue
		}
		dir, _, nested := strings.Cut(name, "/")
		if !nested {
			return sdk.Errorf(sdk.Invalid, "fragment %s: the file %s lies beside the packages' directories: put it into one of them or leave it out", f.Spec, filepath.Join(configsDir, name))
		}
		if !f.Tree.Has(dir) {
			return sdk.Errorf(sdk.Invalid, "fragment %s: the directory %s is named for a package that it does not hold; it holds %s", f.Spec, filepath.Join(configsDir, dir), strings.Join(packages, ", "))
		}
	}
	return nil
}
