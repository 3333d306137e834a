package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/index"
)

// result is the artifact.
type result struct {
	FromIndex string             `json:"from_index"`
	ToIndex   string             `json:"to_index"`
	Packages  []*catalog.Changes `json:"packages"`
}

// Handle compares the two indexes. No image is built.
func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	p := new(request)
	if err := job.Decode(p); err != nil {
		return err
	}
	session, err := h.config.Open(job)
	if err != nil {
		return err
	}
	before, from, err := load(ctx, session, p.FromIndex)
	if err != nil {
		return err
	}
	defer before.Close()
	after, to, err := load(ctx, session, p.ToIndex)
	if err != nil {
		return err
	}
	defer after.Close()
	if err := job.SetFields(ctx, map[string]any{"from_index_resolved": from, "to_index_resolved": to}); err != nil {
		return err
	}
	if err := job.Statef(ctx, "Comparing the indexes."); err != nil {
		return err
	}
	changes, err := before.Diff(ctx, after)
	if err != nil {
		return err
	}
	if err := store(ctx, job, &result{from, to, changes}); err != nil {
		return err
	}
	job.Done("The indexes were compared. Operators that differ: %d.", len(changes))
	return nil
}

func load(ctx context.Context, session *index.Session, spec string) (content *index.Content, pinned string, err error) {
	if err := session.Job.Statef(ctx, "Reading %s.", spec); err != nil {
		return nil, "", err
	}
	base, err := session.Resolve(ctx, spec)
	if err != nil {
		return nil, "", err
	}
	content, err = session.Load(ctx, base)
	return content, base.Pinned, err
}

func store(ctx context.Context, job *sdk.Job, r *result) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return sdk.Errorf(sdk.Internal, "encode the differences: %v", err)
	}
	path := filepath.Join(job.Workspace, "diff.json")
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return sdk.Errorf(sdk.Unavailable, "write the differences: %v", err)
	}
	return job.Artifact(ctx, artifact, path)
}
