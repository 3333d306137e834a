package history

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
)

// workspace is where a copy is, whose file name is one of blueprint.File.
func (r *Repo) workspace(branch, file string) string {
	return filepath.Join(r.dir, "workspace", branch, file)
}

// checkPlace refuses what must not become a path.
func checkPlace(branch, file string) error {
	if !IsBranch(branch) {
		return ErrNoBranch
	}
	if filepath.Base(file) != file || !filepath.IsLocal(file) || len(file) > 250 {
		return sdk.Errorf(sdk.Invalid, "a blueprint cannot have the file name %q", file)
	}
	return nil
}

// Workspace returns the workspace copy of a file, or nil if there is none.
func (r *Repo) Workspace(branch, file string) ([]byte, error) {
	if checkPlace(branch, file) != nil {
		return nil, nil
	}
	content, err := os.ReadFile(r.workspace(branch, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("read a workspace copy", err)
	}
	return content, nil
}

// SetWorkspace stores a workspace copy.
func (r *Repo) SetWorkspace(branch, file string, content []byte) error {
	return r.change(func() error { return r.writeWorkspace(branch, file, content) })
}

func (r *Repo) writeWorkspace(branch, file string, content []byte) error {
	if err := checkPlace(branch, file); err != nil {
		return err
	}
	return replace(r.workspace(branch, file), content)
}

// RemoveWorkspace removes a workspace copy, and tells whether there was one.
func (r *Repo) RemoveWorkspace(branch, file string) (removed bool, err error) {
	err = r.change(func() error {
		removed, err = r.removeWorkspace(branch, file)
		return err
	})
	return removed, err
}

func (r *Repo) removeWorkspace(branch, file string) (bool, error) {
	if checkPlace(branch, file) != nil {
		return false, nil
	}
	err := os.Remove(r.workspace(branch, file))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("remove a workspace copy", err)
	}
	return true, nil
}
