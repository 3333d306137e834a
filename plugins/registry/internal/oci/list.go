package oci

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

func (h *Handler) maxNames() int     { return cmp.Or(h.MaxNames, 10_000) }
func (h *Handler) maxReferrers() int { return cmp.Or(h.MaxReferrers, 3<<20) }

// page reads how many names are wanted, and after which.
func (c *call) page() (n int, last string, err error) {
	query := c.r.URL.Query()
	last = query.Get("last")
	if !query.Has("n") {
		return c.maxNames(), last, nil
	}
	if !integer.MatchString(query.Get("n")) {
		return 0, "", &problem{http.StatusBadRequest, "UNSUPPORTED", fmt.Sprintf("n is %.50q, not a number of entries", query.Get("n"))}
	}
	n, _ = strconv.Atoi(query.Get("n"))
	return min(n, c.maxNames()), last, nil
}

// next links the page that follows.
func (c *call) next(path string, parameters url.Values) {
	c.w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, path, parameters.Encode()))
}

func (c *call) json(contentType string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	_, err = c.w.Write(encoded)
	return err
}

// tags is end-8: the names that are alive, in the order of their bytes.
func (c *call) tags() error {
	n, last, err := c.page()
	if err != nil {
		return err
	}
	names, err := c.Store.Tags(c.r.Context(), c.repository, last, n+1)
	if err != nil {
		return err
	}
	if len(names) > n {
		names = names[:n]
		if n > 0 {
			c.next("/v2/"+c.repository+"/tags/list", url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}})
		}
	}
	if names == nil {
		names = []string{}
	}
	return c.json("application/json", map[string]any{"name": c.repository, "tags": names})
}

// catalog lists the repositories that the caller may read. It is not in the
// specification, but clients of older registries ask for it.
func (c *call) catalog() error {
	n, last, err := c.page()
	if err != nil {
		return err
	}
	names := []string{}
	for len(names) <= n {
		found, err := c.Store.Repositories(c.r.Context(), last, c.maxNames())
		if err != nil {
			return err
		}
		if len(found) == 0 {
			break
		}
		for _, name := range found {
			if c.Policy.Lists(c.r, name) {
				names = append(names, name)
			}
		}
		last = found[len(found)-1]
	}
	if len(names) > n {
		names = names[:n]
		if n > 0 {
			c.next("/v2/_catalog", url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}})
		}
	}
	return c.json("application/json", map[string]any{"repositories": names})
}

const indexType = "application/vnd.oci.image.index.v1+json"

// referrers is end-12a and end-12b. What does not exist has no referrers; that
// is no error.
func (c *call) referrers() error {
	subject, err := c.digestReference()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	artifactType := query.Get("artifactType")
	all, more, err := c.Store.Referrers(c.r.Context(), c.repository, subject, artifactType, digest.Digest(query.Get("last")), c.maxReferrers())
	if err != nil {
		return err
	}
	if all == nil {
		all = []store.Referrer{}
	}
	if artifactType != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		parameters := url.Values{"last": {all[len(all)-1].Digest.String()}}
		if artifactType != "" {
			parameters.Set("artifactType", artifactType)
		}
		c.next("/v2/"+c.repository+"/referrers/"+subject.String(), parameters)
	}
	return c.json(indexType, map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": all})
}
