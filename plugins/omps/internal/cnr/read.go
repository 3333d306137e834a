package cnr

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/blang/semver/v4"
	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/plugins/omps/internal/store"
)

// timeFormat is UTC without zone and fraction.
const timeFormat = "2006-01-02T15:04:05"

func stamp(t time.Time) string { return t.UTC().Format(timeFormat) }

// summary is a package in a list.
type summary struct {
	Name       string   `json:"name"`
	Namespace  string   `json:"namespace"`
	Visibility string   `json:"visibility"`
	Default    string   `json:"default"`
	Manifests  []string `json:"manifests"`
	Channels   []string `json:"channels"`
	Releases   []string `json:"releases"`
	CreatedAt  string   `json:"created_at"`
	UpdatedAt  string   `json:"updated_at"`
}

// releaseView is a release as it is shown.
type releaseView struct {
	Package   string    `json:"package"`
	Release   string    `json:"release"`
	CreatedAt string    `json:"created_at"`
	Digest    string    `json:"digest"`
	MediaType string    `json:"mediaType"`
	Metadata  any       `json:"metadata"`
	Content   content   `json:"content"`
	Channels  *[]string `json:"channels,omitempty"`
}

type content struct {
	MediaType string   `json:"mediaType"`
	Size      int64    `json:"size"`
	Digest    string   `json:"digest"`
	URLs      []string `json:"urls"`
}

func (c *call) viewOf(r *store.Release) *releaseView {
	return &releaseView{
		Package: c.pkg.String(), Release: r.Version, CreatedAt: stamp(r.Created), Digest: r.Digest,
		MediaType: store.ManifestType(r.MediaType),
		Content:   content{MediaType: store.ContentType(r.MediaType), Size: r.Size, Digest: r.Content, URLs: []string{}},
	}
}

func (c *call) list() error {
	query := c.r.URL.Query()
	packages, err := c.Store.Packages(c.r.Context(), c.auth, query.Get("namespace"))
	if err != nil {
		return err
	}
	found := make([]*summary, len(packages))
	var group errgroup.Group
	group.SetLimit(4)
	for i, p := range packages {
		if text := query.Get("query"); text != "" && !strings.Contains(p.String(), text) {
			continue
		}
		group.Go(func() error {
			var err error
			found[i], err = c.summary(p, shortType(query.Get("media_type")))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	summaries := []*summary{}
	for _, s := range found {
		if s != nil {
			summaries = append(summaries, s)
		}
	}
	slices.SortFunc(summaries, func(a, b *summary) int { return strings.Compare(a.Name, b.Name) })
	return c.json(http.StatusOK, summaries)
}

// summary is nil for a package without releases that can be seen.
func (c *call) summary(p store.Package, mediaType string) (*summary, error) {
	releases, public, err := c.Store.Summary(c.r.Context(), c.auth, p)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrForbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &summary{Name: p.String(), Namespace: p.Namespace, Visibility: "private"}
	var first, last time.Time
	for _, r := range releases {
		if !slices.Contains(s.Releases, r.Version) {
			s.Releases = append(s.Releases, r.Version)
		}
		if !slices.Contains(s.Manifests, r.MediaType) {
			s.Manifests = append(s.Manifests, r.MediaType)
		}
		if first.IsZero() || r.Created.Before(first) {
			first = r.Created
		}
		if r.Created.After(last) {
			last = r.Created
		}
	}
	if len(releases) == 0 || mediaType != "" && !slices.Contains(s.Manifests, mediaType) {
		return nil, nil
	}
	if public {
		s.Visibility = "public"
	}
	slices.Sort(s.Manifests)
	s.Default, s.CreatedAt, s.UpdatedAt = s.Releases[0], stamp(first), stamp(last)
	return s, nil
}

func (c *call) search() error {
	packages, err := c.Store.Packages(c.r.Context(), c.auth, "")
	if err != nil {
		return err
	}
	names := []string{}
	for _, p := range packages {
		if strings.Contains(p.String(), c.r.URL.Query().Get("q")) {
			names = append(names, p.String())
		}
	}
	slices.Sort(names)
	return c.json(http.StatusOK, names)
}

// views shows every release; a media type, or a release, narrows that down.
func (c *call) views() error {
	mediaType := shortType(c.r.URL.Query().Get("media_type"))
	return c.show(func(r *store.Release) bool { return mediaType == "" || r.MediaType == mediaType })
}

func (c *call) release(release string) error {
	return c.show(func(r *store.Release) bool { return r.Version == release })
}

func (c *call) show(wanted func(*store.Release) bool) error {
	releases, err := c.Store.Releases(c.r.Context(), c.auth, c.pkg)
	if err != nil {
		return err
	}
	views := []*releaseView{}
	for i := range releases {
		if wanted(&releases[i]) {
			views = append(views, c.viewOf(&releases[i]))
		}
	}
	return c.json(http.StatusOK, views)
}

// find resolves a query: default is the highest version, else a version, or
// comparisons with commas between them that must all hold.
func (c *call) find(query, mediaType string) (*store.Release, error) {
	releases, err := c.Store.Releases(c.r.Context(), c.auth, c.pkg)
	if errors.Is(err, store.ErrNotFound) {
		return nil, absent(c.pkg, query, mediaType)
	}
	if err != nil {
		return nil, err
	}
	matches, err := matcher(query)
	if err != nil {
		return nil, err
	}
	known := false
	for i, r := range releases {
		if matches(r.Version) {
			if known = true; r.MediaType == mediaType {
				return &releases[i], nil
			}
		}
	}
	if known {
		return nil, absent(c.pkg, query, mediaType)
	}
	return nil, &problem{http.StatusNotFound, "package-release-not-found", fmt.Sprintf("No release of package %s matches %q.", c.pkg, query),
		map[string]any{"package": c.pkg.String(), "release_query": query}}
}

func matcher(query string) (func(version string) bool, error) {
	if query == "default" {
		return func(string) bool { return true }, nil
	}
	if _, err := semver.Parse(query); err == nil {
		return func(version string) bool { return version == query }, nil
	}
	bad := &problem{http.StatusUnprocessableEntity, "invalid-release", fmt.Sprintf("%.200q is neither a version nor a comparison of versions.", query), map[string]any{"release_query": query}}
	if len(query) > 500 || !strings.ContainsAny(query, "<>=!") {
		return nil, bad
	}
	var parts []string
	for _, part := range strings.Split(strings.ReplaceAll(query, " ", ""), ",") {
		operator := part[:len(part)-len(strings.TrimLeft(part, "<>=!"))]
		version, err := semver.ParseTolerant(part[len(operator):])
		if err != nil || operator == "" {
			return nil, bad
		}
		parts = append(parts, operator+version.String())
	}
	inRange, err := semver.ParseRange(strings.Join(parts, " "))
	if err != nil {
		return nil, bad
	}
	return func(version string) bool {
		v, err := semver.Parse(version)
		return err == nil && inRange(v)
	}, nil
}

func (c *call) view(query, mediaType string) error {
	r, err := c.find(query, mediaType)
	if err != nil {
		return err
	}
	view := c.viewOf(r)
	view.Channels = &[]string{}
	return c.json(http.StatusOK, view)
}

func (c *call) pull(query, mediaType string) error {
	r, err := c.find(query, mediaType)
	if err != nil {
		return err
	}
	return c.send(r, r.Version, r.Version)
}

// blob finds an archive by the digest of its content.
func (c *call) blob(digest string) error {
	releases, err := c.Store.Releases(c.r.Context(), c.auth, c.pkg)
	if err != nil {
		return err
	}
	for i, r := range releases {
		if r.Content == digest {
			return c.send(&releases[i], digest[:8], "")
		}
	}
	return absent(c.pkg, cmp.Or(digest, "?"), "")
}

// send answers with an archive's bytes. Version is empty for one that was asked
// for by its digest.
func (c *call) send(r *store.Release, label, version string) error {
	blob, err := c.Store.Blob(c.r.Context(), c.auth, c.pkg, r)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s_%s_%s.tar.gz", c.pkg.Namespace, c.pkg.Name, label)
	if c.r.URL.Query().Get("format") == "json" {
		body := map[string]string{"package": c.pkg.String(), "blob": base64.StdEncoding.EncodeToString(blob), "filename": name}
		if body["release"] = r.Content; version != "" {
			body["release"], body["media_type"] = version, r.MediaType
		}
		return c.json(http.StatusOK, body)
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/x-gzip")
	header.Set("Content-Disposition", name)
	header.Set("Content-Length", fmt.Sprint(len(blob)))
	c.w.WriteHeader(http.StatusOK)
	_, err = c.w.Write(blob)
	return err
}
