package tags

import (
	"context"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// plain is a registry without any memory: what is known of its tags are the
// engine's own moves, and what these found in place.
type plain struct {
	moves  core.TagMoves
	images core.Images
}

var _ core.TagHistory = (*plain)(nil)

func (*plain) Kind() string  { return "plain" }
func (*plain) Trusted() bool { return false }

// maxMoves bounds the moves of a tag that are looked at: a page of points needs
// those that follow its first, and there is no number that finds them.
const maxMoves = 100_000

func (p *plain) Points(ctx context.Context, spec string, page int) ([]core.TagPoint, bool, error) {
	moves, err := p.moves.TagMoves(ctx, spec, 0, maxMoves)
	if err != nil {
		return nil, false, err
	}
	points := pointsOf(moves)
	from := min(max(page-1, 0)*pageSize, len(points))
	to := min(from+pageSize, len(points))
	return points[from:to], to < len(points), nil
}

// pointsOf returns what moves, newest first, tell. Where a move found something
// else than the one before had left, somebody else was there in between.
func pointsOf(moves []core.TagMove) []core.TagPoint {
	var points []core.TagPoint
	var end time.Time
	for i, m := range moves {
		if m.To != "" {
			points = append(points, core.TagPoint{
				Digest: m.To, Start: m.Time, End: end, Restored: m.Kind == core.MoveRestore, Request: m.Request, User: m.User,
			})
		}
		end = m.Time
		before := ""
		if i+1 < len(moves) {
			before = moves[i+1].To
		}
		if m.From != "" && m.From != before {
			// When that came is not known, nor when what we left ended.
			points = append(points, core.TagPoint{Digest: m.From, End: end})
		}
	}
	return points
}

// Restore pushes the manifest that the digest names under the tag once more.
func (p *plain) Restore(ctx context.Context, spec, digest string) error {
	pinned := spec[:strings.LastIndexByte(spec, ':')] + "@" + digest
	_, err := p.images.Session(nil).Move(ctx, pinned, spec, core.MoveCondition{})
	if sdk.CodeOf(err) == sdk.NotFound {
		return sdk.Errorf(sdk.NotFound, "tag %s: the registry does not have the image %s any more", spec, digest)
	}
	return err
}

func (*plain) Expire(_ context.Context, spec string, _ time.Time) error {
	registry, _, _ := core.SplitTag(spec)
	return sdk.Errorf(sdk.Invalid, "tag %s: %s keeps no dates for tags; it can only be ended now", spec, registry)
}

func (p *plain) Delete(ctx context.Context, spec string) error {
	return p.images.Session(nil).Delete(ctx, spec)
}
