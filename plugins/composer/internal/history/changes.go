package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/iib-engine/iib/sdk"
)

// Change is a commit that changed a file.
type Change struct {
	Commit  string
	Message string
	Time    time.Time
	// Revision is 0 if the commit has none.
	Revision int
}

// Changes are the commits of a branch that changed a file, newest first by
// ancestry: many of them may be of the same second. Its removal is none.
func (r *Repo) Changes(ctx context.Context, branch, file string) (changes []Change, err error) {
	err = r.read(func() error {
		changes, err = r.history(ctx, branch, file)
		return err
	})
	return changes, err
}

func (r *Repo) history(ctx context.Context, branch, file string) ([]Change, error) {
	head, err := r.head(branch)
	if err != nil {
		return nil, err
	}
	now, err := r.snapshot(head)
	if err != nil {
		return nil, err
	}
	changes, err := r.changes(ctx, now, file, 0)
	if err != nil {
		return nil, err
	}
	tags, err := r.revisions(branch, file)
	if err != nil {
		return nil, err
	}
	for i := range changes {
		changes[i].Revision = tags[changes[i].Commit]
	}
	return changes, nil
}

// changes walks from a commit to the first one; most of 0 finds all.
func (r *Repo) changes(ctx context.Context, now *snapshot, file string, most int) ([]Change, error) {
	var changes []Change
	for now != nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var parent *snapshot
		var before plumbing.Hash
		if len(now.ParentHashes) > 0 {
			var err error
			if parent, err = r.snapshot(now.ParentHashes[0]); err != nil {
				return nil, err
			}
			before = parent.files[file]
		}
		if hash, ok := now.files[file]; ok && hash != before {
			changes = append(changes, Change{
				Commit: now.Hash.String(), Message: strings.TrimRight(now.Message, "\n"), Time: now.Committer.When.UTC(),
			})
			if len(changes) == most {
				break
			}
		}
		now = parent
	}
	return changes, nil
}

func tagPrefix(branch, file string) string { return branch + "/" + file + "/r" }

// revisions maps the commits of a file that have a revision to it.
func (r *Repo) revisions(branch, file string) (map[string]int, error) {
	refs, err := r.store.IterReferences()
	if err != nil {
		return nil, unavailable("read the tags", err)
	}
	defer refs.Close()
	found := make(map[string]int)
	prefix := "refs/tags/" + tagPrefix(branch, file)
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		number, ok := strings.CutPrefix(ref.Name().String(), prefix)
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 1 {
			return nil
		}
		tag, err := object.GetTag(r.store, ref.Hash())
		if err != nil {
			return nil // somebody else's, and not annotated
		}
		commit := tag.Target.String()
		found[commit] = max(found[commit], n)
		return nil
	})
	if err != nil {
		return nil, unavailable("read the tags", err)
	}
	return found, nil
}

// Tag gives the newest commit of a file the next revision, unless it has one.
func (r *Repo) Tag(ctx context.Context, branch, file string) error {
	return r.change(func() error {
		if _, _, err := r.newest(branch, file); err != nil {
			return err
		}
		if !IsBranch(file) {
			return sdk.Errorf(sdk.Invalid, "git has no tags for a blueprint of that name")
		}
		changes, err := r.history(ctx, branch, file)
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return ErrNoFile
		}
		if changes[0].Revision > 0 {
			return nil
		}
		tags, err := r.revisions(branch, file)
		if err != nil {
			return err
		}
		last := 0
		for _, n := range tags {
			last = max(last, n)
		}
		name := fmt.Sprintf("%s%d", tagPrefix(branch, file), last+1)
		hash, err := r.write(&object.Tag{
			Name: name, Message: name, Tagger: signature(),
			TargetType: plumbing.CommitObject, Target: plumbing.NewHash(changes[0].Commit),
		})
		if err != nil {
			return err
		}
		return r.setRef(plumbing.NewTagReferenceName(name), hash)
	})
}

// Missing tells whether an error is that something is not there.
func Missing(err error) bool {
	return errors.Is(err, ErrNoBranch) || errors.Is(err, ErrNoFile) || errors.Is(err, ErrNoCommit)
}
