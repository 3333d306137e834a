package quay

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// row is a row of the history as the API shows it.
type row struct {
	Name           string        `json:"name"`
	Reversion      bool          `json:"reversion"`
	StartTS        int64         `json:"start_ts,omitempty"`
	EndTS          *int64        `json:"end_ts,omitempty"`
	ManifestDigest digest.Digest `json:"manifest_digest"`
	IsManifestList bool          `json:"is_manifest_list"`
	Size           *int64        `json:"size"`
	LastModified   string        `json:"last_modified,omitempty"`
	Expiration     string        `json:"expiration,omitempty"`
	Immutable      bool          `json:"immutable"`

	*children
}

// children are the members that only manifest lists have.
type children struct {
	IsSparse               bool                   `json:"is_sparse"`
	ChildManifestCount     int                    `json:"child_manifest_count"`
	PresentChildCount      int                    `json:"present_child_count"`
	ChildManifestsPresence map[digest.Digest]bool `json:"child_manifests_presence"`
}

func rowOf(r store.Row) row {
	view := row{
		Name: r.Name, Reversion: r.Reversion, ManifestDigest: r.Digest,
		IsManifestList: r.List, Size: r.Size, Immutable: r.Immutable,
	}
	if r.Start > 0 {
		view.StartTS, view.LastModified = r.Start/1000, dateText(r.Start)
	}
	if r.End != nil {
		seconds := *r.End / 1000
		view.EndTS, view.Expiration = &seconds, dateText(*r.End)
	}
	if r.List {
		view.children = &children{ChildManifestCount: len(r.Children), ChildManifestsPresence: make(map[digest.Digest]bool)}
		for _, c := range r.Children {
			view.ChildManifestsPresence[c.Digest] = c.Present
			if c.Present {
				view.PresentChildCount++
			}
		}
		view.IsSparse = view.PresentChildCount < view.ChildManifestCount
	}
	return view
}

// dateText is how the API writes a time: by RFC 2822, in UTC, with the zone
// that says nothing about where it was taken.
func dateText(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("Mon, 02 Jan 2006 15:04:05") + " -0000"
}

const (
	defaultLimit = 50
	maxLimit     = 100
	// maxPage is beyond every history, and its offset within an int64.
	maxPage = 1 << 40
)

// list is GET tag/.
func (c *call) list() error {
	query := c.r.URL.Query()
	limit, err := number(query, "limit", defaultLimit)
	if err != nil {
		return err
	}
	page, err := number(query, "page", 1)
	if err != nil {
		return err
	}
	limit, page = min(max(limit, 1), maxLimit), min(max(page, 1), maxPage)
	filter, empty, err := filterOf(query)
	if err != nil {
		return err
	}
	rows, more, err := c.Store.History(c.r.Context(), c.repository, filter, (page-1)*limit, limit)
	if err != nil {
		return err
	}
	if empty {
		rows, more = nil, false
	}
	tags := make([]row, 0, len(rows))
	for _, r := range rows {
		tags = append(tags, rowOf(r))
	}
	c.answer(http.StatusOK, map[string]any{"tags": tags, "page": page, "has_additional": more})
	return nil
}

// filterOf reads the filters. empty tells that no row can pass them.
func filterOf(query url.Values) (filter store.Filter, empty bool, err error) {
	filter.Name = query.Get("specificTag")
	filter.Alive = truth(query, "onlyActiveTags")
	if !query.Has("filter_tag_name") {
		return filter, false, nil
	}
	operation, text, found := strings.Cut(query.Get("filter_tag_name"), ":")
	switch {
	case !found:
		return filter, false, invalid("filter_tag_name: want <operation>:<text>, with the operation eq or like")
	case operation == "eq":
		empty = filter.Name != "" && filter.Name != text || text == ""
		filter.Name = text
	case operation == "like":
		filter.Like = text
	default:
		return filter, false, invalid("filter_tag_name: there is no operation " + strconv.Quote(operation) + ", only eq and like")
	}
	return filter, empty, nil
}

// number reads an integer parameter.
func number(query url.Values, name string, otherwise int64) (int64, error) {
	if !query.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(query.Get(name)), 10, 64)
	if err != nil {
		return 0, invalid(name + ": want an integer")
	}
	return n, nil
}

// truth reads a truth value: what is not one of a few ways to say no is yes.
func truth(query url.Values, name string) bool {
	switch query.Get(name) {
	case "", "false", "False", "FALSE", "0", "null":
		return false
	}
	return true
}
