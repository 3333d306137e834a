package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// contractTypes are the request types of the API contract; besides them a
// filter may name what the roster offers, and "generic", which matches nothing.
var contractTypes = []string{
	"add", "rm", "regenerate-bundle", "merge-index-image", "create-empty-index",
	"recursive-related-bundles", "fbc-operations", "add-deprecations", "generic",
}

// list is GET /builds (contract, section 4.1).
func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	filter, err := s.filter(r, query)
	if err != nil {
		return err
	}
	page, err := readPage(query, s.Settings())
	if err != nil {
		return err
	}
	verbose := isTrue(query.Get("verbose"))
	page.History = verbose
	requests, total, err := s.Store.List(r.Context(), filter, page)
	if err != nil {
		return err
	}
	pages := int((total + int64(page.Size) - 1) / int64(page.Size))
	if page.Number > max(pages, 1) {
		return errUnknown
	}
	representation := s.representation(r)
	items := make([]json.RawMessage, 0, len(requests))
	for _, request := range requests {
		item, err := representation.JSON(request, verbose)
		if err != nil {
			return err
		}
		items = append(items, item)
	}
	address := func(name string, value int64) *string {
		link := representation.BaseURL + r.URL.Path + "?" + linkQuery(query, name, value, page.Size, verbose)
		return &link
	}
	link := func(number int) *string {
		if number < 1 || number > max(pages, 1) {
			return nil
		}
		return address("page", int64(number))
	}
	meta := map[string]any{
		"first": link(1), "last": link(max(pages, 1)),
		"next": link(page.Number + 1), "previous": link(page.Number - 1),
		"page": page.Number, "pages": pages, "per_page": page.Size, "total": total,
	}
	if page.Before > 0 {
		// Such a page has no number: what is above it grows.
		meta["page"], meta["previous"], meta["next"] = nil, nil, nil
		if len(requests) == page.Size {
			meta["next"] = address("before", requests[len(requests)-1].ID)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items, "meta": meta})
	return nil
}

func (s *server) filter(r *http.Request, query url.Values) (core.Filter, error) {
	filter := core.Filter{
		State: core.State(query.Get("state")), Type: query.Get("request_type"), User: query.Get("user"),
		IndexImage: query.Get("index_image"), FromIndex: query.Get("from_index"), FromIndexPrefix: query.Get("from_index_startswith"),
	}
	if filter.State != "" && !filter.State.Known() {
		return filter, sdk.FieldErrorf("state", "state %q is none of in_progress, complete and failed", filter.State)
	}
	if query.Has("batch") {
		batch, err := strconv.ParseInt(query.Get("batch"), 10, 64)
		if err != nil || batch < 1 {
			return filter, sdk.FieldErrorf("batch", "batch must be a positive integer, not %q", query.Get("batch"))
		}
		filter.Batch, filter.HasBatch = batch, true
	}
	if filter.Type == "" && !filter.HasBatch && !isTrue(query.Get("all_types")) {
		// Existing clients break on a type that they do not know (contract,
		// section 13).
		filter.Types = contractTypes
	}
	if filter.Type != "" && !s.knownType(filter.Type) {
		return filter, sdk.FieldErrorf("request_type", "request_type %q is unknown", filter.Type)
	}
	for _, image := range []struct {
		name, value string
		prefix      bool
	}{
		{"index_image", filter.IndexImage, false},
		{"from_index", filter.FromIndex, false},
		{"from_index_startswith", filter.FromIndexPrefix, true},
	} {
		if image.value == "" {
			continue
		}
		seen, err := s.Store.ImageSeen(r.Context(), image.value, image.prefix)
		if err != nil {
			return filter, err
		}
		if !seen {
			return filter, sdk.FieldErrorf(image.name, "%s: no request has ever named %q", image.name, image.value)
		}
	}
	return filter, nil
}

func (s *server) knownType(requestType string) bool {
	for _, known := range contractTypes {
		if known == requestType {
			return true
		}
	}
	lineup, release := s.Roster.Acquire()
	defer release()
	_, ok := lineup.Handler(requestType)
	return ok
}

func readPage(query url.Values, settings *Settings) (core.Page, error) {
	page := core.Page{Number: 1, Size: settings.PageSize}
	for name, into := range map[string]*int{"page": &page.Number, "per_page": &page.Size} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 1 {
			return page, &statusError{status: http.StatusNotFound, message: fmt.Sprintf("%s must be a positive integer.", name)}
		}
		*into = n
	}
	if query.Has("before") {
		if query.Has("page") {
			return page, sdk.FieldErrorf("before", "before and page cannot be combined: a page is either a number, or what comes below an ID")
		}
		before, err := strconv.ParseInt(query.Get("before"), 10, 64)
		if err != nil || before < 1 {
			return page, sdk.FieldErrorf("before", "before must be a positive integer, not %q", query.Get("before"))
		}
		page.Before = before
	}
	page.Size = min(page.Size, settings.MaxPage)
	if page.Number > 1<<40/page.Size {
		return page, errUnknown
	}
	return page, nil
}

func isTrue(text string) bool { return text == "1" || strings.EqualFold(text, "true") }

// linkQuery is the query of another page of the same list.
func linkQuery(query url.Values, name string, value int64, size int, verbose bool) string {
	parts := []string{fmt.Sprintf("%s=%d", name, value), fmt.Sprintf("per_page=%d", size)}
	if verbose {
		parts = append(parts, "verbose=true")
	}
	if isTrue(query.Get("all_types")) {
		parts = append(parts, "all_types=true")
	}
	for _, name := range []string{"state", "batch", "request_type", "user", "from_index", "from_index_startswith", "index_image"} {
		if value := query.Get(name); value != "" {
			parts = append(parts, name+"="+url.QueryEscape(value))
		}
	}
	return strings.Join(parts, "&")
}
