// Package tags knows the three ways in which registries remember what their
// tags meant: the engine's own registry and Quay through the API that Quay has
// for it, and any other by the moves that the engine has recorded.
package tags

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/iib-engine/iib/core"
)

// Options are what a Tags is made of. All are required.
type Options struct {
	Moves  core.TagMoves
	Images core.Images
	// Own is the host of the engine's own registry, empty if there is none.
	Own func() string
	// Mount returns the service that is mounted at a path.
	Mount func(path string) (http.Handler, bool)
	// Quays are the registries with Quay's API, by host.
	Quays func() map[string]Quay
}

// Quay is a registry that has Quay's API.
type Quay struct {
	// URL is the scheme and host of the API.
	URL string
	// TokenFile holds an OAuth access token, which is read anew for each call;
	// empty for none.
	TokenFile string
	// CAFile is a file of PEM certificates to trust; empty for the system's.
	CAFile string
}

// Tags is a core.Tags. It is safe for concurrent use.
type Tags struct{ options Options }

var _ core.Tags = (*Tags)(nil)

// New returns the tags of all registries.
func New(o Options) *Tags { return &Tags{o} }

// Of implements core.Tags. The engine's own registry is asked in the caller's
// name; what Quay is called is in the configuration; all others are plain.
func (t *Tags) Of(spec, user string) core.TagHistory {
	host, _, _ := core.SplitTag(spec)
	if own := t.options.Own(); own != "" && host == own {
		if service, ok := t.options.Mount(apiPath); ok {
			return &known{moves: t.options.Moves, TagHistory: embedded(service, user)}
		}
	}
	if quay, ok := t.options.Quays()[host]; ok {
		return &known{moves: t.options.Moves, TagHistory: remote(quay)}
	}
	return &plain{moves: t.options.Moves, images: t.options.Images}
}

// known adds what the engine's record tells to the history of a registry.
type known struct {
	core.TagHistory
	moves core.TagMoves
}

// recorded bounds how many recorded moves are compared with a page.
const recorded = 1000

func (k *known) Points(ctx context.Context, spec string, page int) ([]core.TagPoint, bool, error) {
	points, more, err := k.TagHistory.Points(ctx, spec, page)
	if err != nil {
		return nil, false, err
	}
	moves, err := k.moves.TagMoves(ctx, spec, 0, recorded)
	if err != nil {
		return nil, false, err
	}
	for i := range points {
		for _, m := range moves {
			// A registry's clock need not be ours, but a move is recorded soon
			// after it was made.
			if p := &points[i]; m.To == p.Digest && p.Restored == (m.Kind == core.MoveRestore) && m.Time.Sub(p.Start).Abs() < core.MoveTime {
				p.Request, p.User = m.Request, m.User
				break
			}
		}
	}
	return points, more, nil
}

// timeOf reads seconds since 1970; 0 is none.
func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func trimBase(url string) string { return strings.TrimRight(url, "/") }
