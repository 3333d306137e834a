package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// unmoved checks that the index is still the one that the edit started from.
// An index that already is the new image was moved by an earlier attempt of
// this request, or by an equal one: moving it again changes nothing.
func (h *jobHost) unmoved(ctx context.Context, p *sdk.Publication, now string) error {
	_, base, _ := strings.Cut(p.Base, "@")
	if _, image, _ := strings.Cut(p.Image, "@"); now == base || now == image {
		return nil
	}
	who, err := h.movers(ctx, p.Overwrite, base, now)
	if err != nil {
		return err
	}
	return sdk.Moved("%s was changed by %s while this request ran: it was %s and is %s", p.Overwrite, who, orNone(base), orNone(now))
}

const (
	// maxMoves bounds how far back the movers of a tag are looked for.
	maxMoves = 200
	// maxMovers bounds how many are named.
	maxMovers = 5
)

// movers tells who made an index, which was base, what it is now.
func (h *jobHost) movers(ctx context.Context, spec, base, now string) (string, error) {
	moves, err := h.engine.Store.TagMoves(ctx, recordSpec(spec), 0, maxMoves)
	if err != nil {
		return "", err
	}
	return listed(moversOf(moves, base, now)), nil
}

// moversOf follows the moves of a tag, newest first, from what it is now back
// to base. Where they do not fit together, somebody moved the tag who does not
// record it here.
func moversOf(moves []core.TagMove, base, now string) []string {
	var names []string
	for _, m := range moves {
		if now == base {
			break
		}
		if m.To != now {
			return append(names, stranger)
		}
		if name := moverOf(m); !slices.Contains(names, name) {
			names = append(names, name)
		}
		now = m.From
	}
	if now != base {
		names = append(names, stranger)
	}
	return names
}

const stranger = "another client of the registry"

func moverOf(m core.TagMove) string {
	switch {
	case m.Request != 0:
		return fmt.Sprintf("request %d", m.Request)
	case m.User != "":
		return m.User
	}
	return "somebody"
}

func listed(names []string) string {
	if more := len(names) - maxMovers; more > 1 {
		names = append(slices.Clone(names[:maxMovers]), fmt.Sprintf("%d others", more))
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

func orNone(digest string) string {
	if digest == "" {
		return "absent"
	}
	return digest
}
