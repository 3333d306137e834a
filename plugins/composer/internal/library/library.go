// Package library is where blueprints are: their history and their workspace
// copies, read and written as blueprints. Its errors have an id, except those
// of the disk.
package library

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/history"
)

// MaxSize bounds a blueprint, in bytes.
const MaxSize = 1 << 20

// Library is safe for concurrent use.
type Library struct {
	repo *history.Repo
	// known tells whether a blueprint may be for a distribution.
	known func(distro string) bool
}

// Open opens the library in a directory, and adds the blueprints that lie there
// as files and are not on master.
func Open(dir string, known func(distro string) bool) (*Library, error) {
	repo, err := history.Open(dir)
	if err != nil {
		return nil, err
	}
	l := &Library{repo, known}
	return l, l.add(dir)
}

func (l *Library) add(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil {
		return err
	}
	there, err := l.repo.Files(history.Master)
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(there, filepath.Base(name)) {
			continue
		}
		if err := l.addFile(name, there); err != nil {
			slog.Warn("a blueprint of the directory is left out", "file", name, "err", err)
		}
	}
	return nil
}

func (l *Library) addFile(name string, there []string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxSize {
		return errors.New("it is no file, or a too large one")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b, err := blueprint.ParseTOML(string(text))
	if err != nil {
		return err
	}
	file := blueprint.File(b.Name)
	if !blueprint.IsName(strings.TrimSuffix(file, ".toml")) {
		return fmt.Errorf("%q cannot be a blueprint's name", b.Name)
	}
	if slices.Contains(there, file) {
		return nil
	}
	return l.save(history.Master, b)
}

// Names are the blueprints that are committed on a branch, sorted.
func (l *Library) Names(branch string) ([]string, error) {
	files, err := l.repo.Files(branch)
	if errors.Is(err, history.ErrNoBranch) {
		return nil, fault.New(fault.BlueprintsError, "Unknown branch: %s", branch)
	}
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(file, ".toml"))
	}
	slices.Sort(names)
	return names, nil
}

// Check refuses a blueprint that must not be stored.
func (l *Library) Check(b *blueprint.Blueprint) error {
	if err := b.CheckName(); err != nil {
		return err
	}
	if len(b.Name) > 200 {
		return fault.New(fault.BlueprintsError, "the name of a blueprint may have 200 characters")
	}
	if b.Distro != "" && !l.known(b.Distro) {
		return fault.New(fault.BlueprintsError, "'%s' is not a valid distribution", b.Distro)
	}
	return nil
}

// CheckBranch refuses to write to a branch that git cannot have.
func CheckBranch(branch string) error {
	if !history.IsBranch(branch) {
		return fault.New(fault.InvalidChars, "Invalid characters in branch argument")
	}
	return nil
}

// Save commits a blueprint, with its version settled.
func (l *Library) Save(branch string, b *blueprint.Blueprint) error {
	if err := CheckBranch(branch); err != nil {
		return err
	}
	if err := l.Check(b); err != nil {
		return err
	}
	return l.save(branch, b)
}

func (l *Library) save(branch string, b *blueprint.Blueprint) error {
	return l.repo.Save(branch, blueprint.File(b.Name), func(old []byte) ([]byte, string, error) {
		before := ""
		if old != nil {
			if o, err := blueprint.ParseTOML(string(old)); err == nil {
				before = o.Version
			}
		}
		saved := *b
		saved.Version = blueprint.Next(b.Version, before)
		return []byte(saved.TOML()), fmt.Sprintf("Recipe %s, version %s saved.", saved.Name, saved.Version), nil
	})
}

// Commit is a blueprint as it was committed.
type Commit struct {
	*blueprint.Blueprint
	Text string
	Hash string
}

// Newest returns a blueprint as it is committed on a branch.
func (l *Library) Newest(branch, name string) (*Commit, error) {
	content, hash, err := l.repo.Newest(branch, blueprint.File(name))
	if history.Missing(err) {
		return nil, fault.New(fault.UnknownBlueprint, "Unknown blueprint name: %s", name)
	}
	if err != nil {
		return nil, err
	}
	return parsed(content, hash)
}

// At returns a blueprint as it was in a commit.
func (l *Library) At(name, commit string) (*Commit, error) {
	content, err := l.repo.At(commit, blueprint.File(name))
	if history.Missing(err) {
		return nil, unknownCommit(name, commit)
	}
	if err != nil {
		return nil, err
	}
	return parsed(content, commit)
}

func unknownCommit(name, commit string) error {
	return fault.New(fault.UnknownCommit, "Unknown commit of blueprint %s: %s", name, commit)
}

func parsed(content []byte, hash string) (*Commit, error) {
	b, err := blueprint.ParseTOML(string(content))
	if err != nil {
		return nil, err
	}
	return &Commit{b, string(content), hash}, nil
}

// Current returns the workspace copy of a blueprint, or what is committed if
// there is none, and whether the former differs from the latter.
func (l *Library) Current(branch, name string) (b *blueprint.Blueprint, changed bool, err error) {
	draft, err := l.repo.Workspace(branch, blueprint.File(name))
	if err != nil {
		return nil, false, err
	}
	committed, err := l.Newest(branch, name)
	if draft == nil {
		if err != nil {
			return nil, false, err
		}
		return committed.Blueprint, false, nil
	}
	if err != nil && !fault.Is(err, fault.UnknownBlueprint) {
		return nil, false, err
	}
	copied, parseErr := blueprint.ParseTOML(string(draft))
	if parseErr != nil {
		return nil, false, parseErr
	}
	return copied, committed == nil || !copied.Equal(committed.Blueprint), nil
}

// SetWorkspace stores a workspace copy.
func (l *Library) SetWorkspace(branch string, b *blueprint.Blueprint) error {
	if err := CheckBranch(branch); err != nil {
		return err
	}
	if err := l.Check(b); err != nil {
		return err
	}
	return l.repo.SetWorkspace(branch, blueprint.File(b.Name), []byte(b.TOML()))
}

// RemoveWorkspace removes a workspace copy.
func (l *Library) RemoveWorkspace(branch, name string) error {
	removed, err := l.repo.RemoveWorkspace(branch, blueprint.File(name))
	if err == nil && !removed {
		return fault.New(fault.BlueprintsError, "Unknown blueprint: %s", name)
	}
	return err
}

// Delete removes a blueprint from a branch, and its workspace copy. One that is
// only a workspace copy is removed, too.
func (l *Library) Delete(branch, name string) error {
	err := l.repo.Delete(branch, blueprint.File(name))
	if !history.Missing(err) {
		return err
	}
	return l.RemoveWorkspace(branch, name)
}

// Undo commits a blueprint as it was in a commit.
func (l *Library) Undo(branch, name, commit string) error {
	err := l.repo.Undo(branch, blueprint.File(name), commit)
	if history.Missing(err) {
		return unknownCommit(name, commit)
	}
	return err
}

// Tag gives a blueprint's newest commit a revision.
func (l *Library) Tag(ctx context.Context, branch, name string) error {
	err := l.repo.Tag(ctx, branch, blueprint.File(name))
	if history.Missing(err) {
		return fault.New(fault.UnknownBlueprint, "Unknown blueprint")
	}
	return err
}

// Changes is the history of a blueprint, newest first; a deleted one has its
// history still.
func (l *Library) Changes(ctx context.Context, branch, name string) ([]history.Change, error) {
	changes, err := l.repo.Changes(ctx, branch, blueprint.File(name))
	if history.Missing(err) || err == nil && len(changes) == 0 {
		return nil, fault.New(fault.UnknownBlueprint, "%s", name)
	}
	return changes, err
}

// The words for commits that Diff knows.
const (
	newest    = "NEWEST"
	workspace = "WORKSPACE"
)

// Diff lists what differs between two states of a blueprint.
func (l *Library) Diff(branch, name, from, to string) ([]blueprint.Difference, error) {
	committed, err := l.Newest(branch, name)
	if err != nil {
		return nil, err
	}
	state := func(commit string) (*blueprint.Blueprint, error) {
		if commit == newest {
			return committed.Blueprint, nil
		}
		c, err := l.At(name, commit)
		if err != nil {
			return nil, err
		}
		return c.Blueprint, nil
	}
	old, err := state(from)
	if err != nil {
		return nil, err
	}
	now, err := committed.Blueprint, error(nil)
	if to == workspace {
		now, _, err = l.Current(branch, name)
	} else {
		now, err = state(to)
	}
	if err != nil {
		return nil, err
	}
	return blueprint.Diff(old, now), nil
}
