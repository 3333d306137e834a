// Package history keeps blueprints in a bare git repository, with branches and
// revisions, and their workspace copies beside it (contract sections 5 and 6).
package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/sdk"
)

// Master is the branch that is always there.
const Master = "master"

// The errors that callers tell apart.
var (
	ErrNoBranch = errors.New("unknown branch")
	ErrNoFile   = errors.New("unknown blueprint")
	ErrNoCommit = errors.New("unknown commit")
)

// Repo is the repository. It is safe for concurrent use, also by several
// processes: during a reload there are two.
type Repo struct {
	dir string // the bare repository

	mu    sync.Mutex
	store *filesystem.Storage
}

// Open opens the repository below a directory of blueprints, and makes it with
// its first commit if it is not there.
func Open(dir string) (*Repo, error) {
	git := filepath.Join(dir, "git")
	for _, path := range []string{"objects", "refs/heads", "refs/tags", "workspace"} {
		if err := os.MkdirAll(filepath.Join(git, path), 0o755); err != nil {
			return nil, unavailable("make the repository of blueprints", err)
		}
	}
	r := &Repo{dir: git, store: filesystem.NewStorage(osfs.New(git), cache.NewObjectLRUDefault())}
	return r, r.change(func() error {
		for name, content := range map[string]string{
			"HEAD":   "ref: refs/heads/" + Master + "\n",
			"config": "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
		} {
			if _, err := os.Stat(filepath.Join(git, name)); err == nil {
				continue
			}
			if err := replace(filepath.Join(git, name), []byte(content)); err != nil {
				return err
			}
		}
		if _, err := r.head(Master); !errors.Is(err, ErrNoBranch) {
			return err
		}
		tree, err := r.write(new(object.Tree))
		if err != nil {
			return err
		}
		_, err = r.commit(Master, plumbing.ZeroHash, tree, "Initial Recipe repository commit")
		return err
	})
}

func unavailable(doing string, err error) error {
	return sdk.Errorf(sdk.Unavailable, "%s: %w", doing, err)
}

// change runs what writes, alone among all processes.
func (r *Repo) change(do func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	lock, err := os.OpenFile(filepath.Join(r.dir, "composer.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return unavailable("lock the blueprints", err)
	}
	defer lock.Close()
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return unavailable("lock the blueprints", err)
	}
	return do()
}

// read runs what only reads. What it reads never changes, but for references,
// which are replaced as a whole.
func (r *Repo) read(do func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return do()
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return unavailable("make a directory", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return unavailable("write a file", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(0o644)
	}
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return unavailable("write a file", err)
	}
	return nil
}

// IsBranch tells whether git could have a branch or a part of a tag of that
// name; others never become paths.
func IsBranch(name string) bool {
	return name != "" && len(name) < 200 && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "-") &&
		!strings.HasSuffix(name, ".") && !strings.HasSuffix(name, ".lock") && !strings.Contains(name, "..") &&
		!strings.ContainsAny(name, "/\\ ~^:?*[@\x7f") && strings.IndexFunc(name, func(c rune) bool { return c < ' ' }) < 0
}

// head returns the newest commit of a branch.
func (r *Repo) head(branch string) (plumbing.Hash, error) {
	if !IsBranch(branch) {
		return plumbing.ZeroHash, ErrNoBranch
	}
	ref, err := r.store.Reference(plumbing.NewBranchReferenceName(branch))
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return plumbing.ZeroHash, ErrNoBranch
	}
	if err != nil {
		return plumbing.ZeroHash, unavailable("read a branch", err)
	}
	return ref.Hash(), nil
}

func (r *Repo) setRef(name plumbing.ReferenceName, hash plumbing.Hash) error {
	return replace(filepath.Join(r.dir, filepath.FromSlash(name.String())), []byte(hash.String()+"\n"))
}

func (r *Repo) write(o interface {
	Encode(plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	encoded := r.store.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		return plumbing.ZeroHash, unavailable("write to the repository", err)
	}
	hash, err := r.store.SetEncodedObject(encoded)
	if err != nil {
		return plumbing.ZeroHash, unavailable("write to the repository", err)
	}
	return hash, nil
}

func (r *Repo) writeBlob(content []byte) (plumbing.Hash, error) {
	encoded := r.store.NewEncodedObject()
	encoded.SetType(plumbing.BlobObject)
	w, err := encoded.Writer()
	if err == nil {
		_, err = w.Write(content)
		if closed := w.Close(); err == nil {
			err = closed
		}
	}
	if err != nil {
		return plumbing.ZeroHash, unavailable("write to the repository", err)
	}
	hash, err := r.store.SetEncodedObject(encoded)
	if err != nil {
		return plumbing.ZeroHash, unavailable("write to the repository", err)
	}
	return hash, nil
}

// signature is the author, committer and tagger of everything.
func signature() object.Signature {
	return object.Signature{Name: "bdcs-api-server", Email: "user-email", When: time.Now().UTC().Truncate(time.Second)}
}

func (r *Repo) commit(branch string, parent, tree plumbing.Hash, message string) (plumbing.Hash, error) {
	who := signature()
	c := &object.Commit{Author: who, Committer: who, Message: message, TreeHash: tree}
	if !parent.IsZero() {
		c.ParentHashes = []plumbing.Hash{parent}
	}
	hash, err := r.write(c)
	if err != nil {
		return hash, err
	}
	return hash, r.setRef(plumbing.NewBranchReferenceName(branch), hash)
}

// snapshot is a commit with the files of its tree.
type snapshot struct {
	*object.Commit
	files map[string]plumbing.Hash
}

func (r *Repo) snapshot(hash plumbing.Hash) (*snapshot, error) {
	c, err := object.GetCommit(r.store, hash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, ErrNoCommit
	}
	if err != nil {
		return nil, unavailable("read a commit", err)
	}
	tree, err := object.GetTree(r.store, c.TreeHash)
	if err != nil {
		return nil, unavailable("read a tree", err)
	}
	s := &snapshot{c, make(map[string]plumbing.Hash, len(tree.Entries))}
	for _, e := range tree.Entries {
		if e.Mode.IsFile() {
			s.files[e.Name] = e.Hash
		}
	}
	return s, nil
}

func (r *Repo) blob(hash plumbing.Hash) ([]byte, error) {
	b, err := object.GetBlob(r.store, hash)
	if err != nil {
		return nil, unavailable("read a blueprint", err)
	}
	in, err := b.Reader()
	if err != nil {
		return nil, unavailable("read a blueprint", err)
	}
	defer in.Close()
	content, err := io.ReadAll(in)
	if err != nil {
		return nil, unavailable("read a blueprint", err)
	}
	return content, nil
}

// put commits a changed file of a branch, or its removal if content is nil. A
// branch that does not exist begins at master.
func (r *Repo) put(branch, file string, content []byte, message string) (plumbing.Hash, error) {
	head, err := r.head(branch)
	if errors.Is(err, ErrNoBranch) && IsBranch(branch) {
		head, err = r.head(Master)
	}
	if err != nil {
		return plumbing.ZeroHash, err
	}
	c, err := object.GetCommit(r.store, head)
	if err != nil {
		return plumbing.ZeroHash, unavailable("read a commit", err)
	}
	old, err := object.GetTree(r.store, c.TreeHash)
	if err != nil {
		return plumbing.ZeroHash, unavailable("read a tree", err)
	}
	entries := slices.DeleteFunc(slices.Clone(old.Entries), func(e object.TreeEntry) bool { return e.Name == file })
	if content != nil {
		blob, err := r.writeBlob(content)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		entries = append(entries, object.TreeEntry{Name: file, Mode: filemode.Regular, Hash: blob})
	}
	slices.SortFunc(entries, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	tree, err := r.write(&object.Tree{Entries: entries})
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return r.commit(branch, head, tree, message)
}

// sortName is what git sorts an entry by.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

// Files are the names of a branch's blueprint files, sorted.
func (r *Repo) Files(branch string) (files []string, err error) {
	err = r.read(func() error {
		head, err := r.head(branch)
		if err != nil {
			return err
		}
		s, err := r.snapshot(head)
		if err != nil {
			return err
		}
		for name := range s.files {
			if strings.HasSuffix(name, ".toml") {
				files = append(files, name)
			}
		}
		slices.Sort(files)
		return nil
	})
	return files, err
}

// Newest returns a file as it is on a branch now, and the commit that made it so.
func (r *Repo) Newest(branch, file string) (content []byte, commit string, err error) {
	err = r.read(func() error {
		content, commit, err = r.newest(branch, file)
		return err
	})
	return content, commit, err
}

func (r *Repo) newest(branch, file string) ([]byte, string, error) {
	head, err := r.head(branch)
	if err != nil {
		return nil, "", err
	}
	now, err := r.snapshot(head)
	if err != nil {
		return nil, "", err
	}
	hash, ok := now.files[file]
	if !ok {
		return nil, "", ErrNoFile
	}
	content, err := r.blob(hash)
	if err != nil {
		return nil, "", err
	}
	changes, err := r.changes(context.Background(), now, file, 1)
	if err != nil || len(changes) == 0 {
		return nil, "", errors.Join(err, ErrNoFile)
	}
	return content, changes[0].Commit, nil
}

// At returns a file as it was in a commit.
func (r *Repo) At(commit, file string) (content []byte, err error) {
	if !plumbing.IsHash(commit) {
		return nil, ErrNoCommit
	}
	err = r.read(func() error {
		content, err = r.at(commit, file)
		return err
	})
	return content, err
}

func (r *Repo) at(commit, file string) ([]byte, error) {
	s, err := r.snapshot(plumbing.NewHash(commit))
	if err != nil {
		return nil, err
	}
	hash, ok := s.files[file]
	if !ok {
		return nil, ErrNoCommit
	}
	return r.blob(hash)
}

// Save commits what make returns for the file's present content, which is nil
// if it is not there, and replaces the workspace copy by it.
func (r *Repo) Save(branch, file string, make func(old []byte) (content []byte, message string, err error)) error {
	return r.change(func() error {
		old, _, err := r.newest(branch, file)
		if errors.Is(err, ErrNoBranch) && IsBranch(branch) {
			old, _, err = r.newest(Master, file)
		}
		if err != nil && !errors.Is(err, ErrNoFile) {
			return err
		}
		content, message, err := make(old)
		if err != nil {
			return err
		}
		if _, err := r.put(branch, file, content, message); err != nil {
			return err
		}
		return r.writeWorkspace(branch, file, content)
	})
}

// Delete commits the removal of a file, and removes its workspace copy.
func (r *Repo) Delete(branch, file string) error {
	return r.change(func() error {
		if _, _, err := r.newest(branch, file); err != nil {
			return err
		}
		if _, err := r.put(branch, file, nil, fmt.Sprintf("Recipe %s deleted", file)); err != nil {
			return err
		}
		_, err := r.removeWorkspace(branch, file)
		return err
	})
}

// Undo commits the file as it was in an earlier commit, also after its removal,
// and replaces the workspace copy by it.
func (r *Repo) Undo(branch, file, commit string) error {
	if !plumbing.IsHash(commit) {
		return ErrNoCommit
	}
	return r.change(func() error {
		if _, err := r.head(branch); err != nil {
			return err
		}
		content, err := r.at(commit, file)
		if err != nil {
			return err
		}
		if _, err := r.put(branch, file, content, fmt.Sprintf("%s reverted to commit %s", file, commit)); err != nil {
			return err
		}
		return r.writeWorkspace(branch, file, content)
	})
}
