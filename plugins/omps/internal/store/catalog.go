package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// maxPages and maxPage bound a registry's list of repositories.
	maxPages = 1000
	maxPage  = 16 << 20
)

// repositories lists what a caller may read. A token is for repositories that
// are named, which is not known here, so the credentials themselves are shown
// first; only a registry that refuses them is asked by its tokens.
func (s *Store) repositories(ctx context.Context, authorization string) ([]string, error) {
	base := s.registry.Scheme() + "://" + s.registry.RegistryStr()
	var all []string
	next := base + "/v2/_catalog"
	for range maxPages {
		names, link, status, err := s.page(ctx, next, authorization)
		if err != nil {
			return nil, err
		}
		switch {
		case status == http.StatusUnauthorized && all == nil:
			names, err := remote.Catalog(ctx, s.registry, s.options(ctx, authorization)...)
			return names, translate(err)
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			return nil, ErrForbidden
		case status == http.StatusNotFound:
			return nil, ErrNotFound
		case status != http.StatusOK:
			return nil, fmt.Errorf("list the repositories of %s: status %d", s.registry.RegistryStr(), status)
		}
		all = append(all, names...)
		if link == "" {
			return all, nil
		}
		from, err := url.Parse(next)
		if err != nil {
			return nil, err
		}
		to, err := from.Parse(link)
		if err != nil || to.Host != from.Host || to.Scheme != from.Scheme {
			return nil, fmt.Errorf("list the repositories of %s: its next page is elsewhere", s.registry.RegistryStr())
		}
		next = to.String()
	}
	return nil, fmt.Errorf("list the repositories of %s: there are more than %d pages", s.registry.RegistryStr(), maxPages)
}

func (s *Store) page(ctx context.Context, address, authorization string) (names []string, link string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", 0, err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := s.Transport.RoundTrip(request)
	if err != nil {
		return nil, "", 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, "", response.StatusCode, nil
	}
	var list struct {
		Repositories []string `json:"repositories"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(&list); err != nil {
		return nil, "", 0, fmt.Errorf("list the repositories of %s: %w", s.registry.RegistryStr(), err)
	}
	if target, _, ok := strings.Cut(response.Header.Get("Link"), ">"); ok && strings.Contains(response.Header.Get("Link"), `rel="next"`) {
		link = strings.TrimPrefix(strings.TrimSpace(target), "<")
	}
	return list.Repositories, link, http.StatusOK, nil
}
