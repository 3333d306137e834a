package cnr

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
)

// maxAnswer bounds what is read of an application registry's answer.
const maxAnswer = 32 << 20

// Client pushes to an application registry. Errors are faults of the push
// service.
type Client struct {
	// URL is what /cnr is below, QuayURL what Quay's own API is below.
	URL, QuayURL string
	HTTP         *http.Client
	// Timeout bounds a call; 0 is no bound.
	Timeout time.Duration
}

// answer is what came back.
type answer struct {
	status int
	body   []byte
}

func (c *Client) do(ctx context.Context, method, address, authorization string, body any) (*answer, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{status: response.StatusCode}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	a.hide(authorization)
	return a, err
}

// hide removes the credentials of a call from a refusal, which is shown to whoever
// pushes: some servers repeat what they were sent, and the token of an
// organization is none of its pushers' business. What is shorter than a secret
// stands in any text by chance.
func (a *answer) hide(authorization string) {
	if a.status/100 == 2 || authorization == "" {
		return
	}
	_, credentials, _ := strings.Cut(authorization, " ")
	for _, secret := range []string{authorization, credentials} {
		if len(secret) >= 8 {
			a.body = bytes.ReplaceAll(a.body, []byte(secret), []byte("[credentials]"))
		}
	}
}

// message is the text of an error. Its shape differs: an object with a message,
// or a mere text.
func (a *answer) message() string {
	var body struct {
		Error any `json:"error"`
	}
	_ = json.Unmarshal(a.body, &body)
	switch e := body.Error.(type) {
	case string:
		return e
	case map[string]any:
		if text, ok := e["message"].(string); ok {
			return text
		}
	}
	return "Unknown error"
}

func (a *answer) fault(id, format string, args ...any) error {
	f := fault.New(id, format, args...)
	if _, shown := f.Extra["quay_response"]; shown {
		f.Extra["quay_response"] = fault.Response(a.body)
	}
	return f
}

func (c *Client) packages(parts ...string) string {
	address := c.URL + "/cnr/api/v1/packages"
	for _, part := range parts {
		address += "/" + url.PathEscape(part)
	}
	return address
}

// Push stores a release.
func (c *Client) Push(ctx context.Context, authorization, organization, repository, release string, blob []byte) error {
	a, err := c.do(ctx, http.MethodPost, c.packages(organization, repository), authorization, map[string]string{
		"blob": base64.StdEncoding.EncodeToString(blob), "release": release, "media_type": "helm",
	})
	switch {
	case err != nil:
		return fault.New(fault.Courier, "Failed to push manifest: the application registry did not answer: %v", err)
	case a.status == http.StatusOK:
		return nil
	case a.status == http.StatusForbidden:
		return a.fault(fault.QuayAuthorization, "Failed to push manifest: %s", a.message())
	}
	return a.fault(fault.Courier, "Failed to push manifest: %s", a.message())
}

// Releases returns a package's releases in the order of the registry. One that
// is not there, or has none, is a fault PackageNotFound.
func (c *Client) Releases(ctx context.Context, authorization, organization, repository string) ([]string, error) {
	a, err := c.do(ctx, http.MethodGet, c.packages(organization, repository), authorization, nil)
	if err != nil {
		return nil, fault.New(fault.QuayPackage, "The releases of %s/%s cannot be listed: the application registry did not answer: %v", organization, repository, err)
	}
	notFound := fault.New(fault.PackageNotFound, "Package %s/%s not found.", organization, repository)
	switch {
	case a.status == http.StatusOK:
		var views []struct {
			Release string `json:"release"`
		}
		if err := json.Unmarshal(a.body, &views); err != nil {
			return nil, fault.New(fault.QuayPackage, "The releases of %s/%s cannot be read: %v", organization, repository, err)
		}
		var releases []string
		for _, v := range views {
			releases = append(releases, v.Release)
		}
		if len(releases) == 0 {
			return nil, notFound
		}
		return releases, nil
	case a.status == http.StatusNotFound:
		return nil, notFound
	case a.status == http.StatusForbidden:
		// That may mean that there is none: the list tells.
		return c.listed(ctx, authorization, organization, repository)
	}
	return nil, fault.New(fault.QuayPackage, "The releases of %s/%s cannot be listed: %s", organization, repository, a.message())
}

func (c *Client) listed(ctx context.Context, authorization, organization, repository string) ([]string, error) {
	a, err := c.do(ctx, http.MethodGet, c.packages()+"?"+url.Values{"namespace": {organization}}.Encode(), authorization, nil)
	switch {
	case err != nil:
		return nil, fault.New(fault.QuayPackage, "The packages of %s cannot be listed: the application registry did not answer: %v", organization, err)
	case a.status == http.StatusForbidden:
		return nil, a.fault(fault.QuayAuthorization, "Unauthorized access to the packages of %s: %s", organization, a.message())
	case a.status != http.StatusOK:
		return nil, fault.New(fault.QuayPackage, "The packages of %s cannot be listed: %s", organization, a.message())
	}
	var packages []struct {
		Name     string   `json:"name"`
		Releases []string `json:"releases"`
	}
	if err := json.Unmarshal(a.body, &packages); err != nil {
		return nil, fault.New(fault.QuayPackage, "The packages of %s cannot be read: %v", organization, err)
	}
	for _, p := range packages {
		if p.Name == organization+"/"+repository && len(p.Releases) > 0 {
			return p.Releases, nil
		}
	}
	return nil, fault.New(fault.PackageNotFound, "Package %s/%s not found.", organization, repository)
}

// Delete ends a release.
func (c *Client) Delete(ctx context.Context, authorization, organization, repository, release string) error {
	a, err := c.do(ctx, http.MethodDelete, c.packages(organization, repository, release, "helm"), authorization, nil)
	switch {
	case err != nil:
		return fault.New(fault.QuayPackage, "Release %s of %s/%s cannot be deleted: the application registry did not answer: %v", release, organization, repository, err)
	case a.status == http.StatusOK:
		return nil
	case a.status == http.StatusNotFound:
		return fault.New(fault.PackageNotFound, "%s", a.message())
	}
	return fault.New(fault.QuayPackage, "%s", a.message())
}

// Publish makes a repository public by Quay's API.
func (c *Client) Publish(ctx context.Context, _, token, organization, repository string) error {
	if token == "" {
		return errNoToken
	}
	address := fmt.Sprintf("%s/api/v1/repository/%s/%s/changevisibility", c.QuayURL, url.PathEscape(organization), url.PathEscape(repository))
	a, err := c.do(ctx, http.MethodPost, address, "Bearer "+token, map[string]string{"visibility": "public"})
	if err != nil {
		return fault.New(fault.QuayPackage, "The release was pushed, but %s/%s cannot be made public: the registry did not answer: %v", organization, repository, err)
	}
	if a.status != http.StatusOK {
		return fault.New(fault.QuayPackage, "The release was pushed, but %s/%s cannot be made public: status %d: %s", organization, repository, a.status, a.message())
	}
	return nil
}

// errNoToken tells that nothing was tried.
var errNoToken = errors.New("the organization is public, and has no oauth_token to make its repositories so")

// IsNoToken tells whether a repository was not made public for want of a token.
func IsNoToken(err error) bool { return errors.Is(err, errNoToken) }

// Ping asks for the protocol's version.
func (c *Client) Ping(ctx context.Context) error {
	a, err := c.do(ctx, http.MethodGet, c.URL+"/cnr/version", "", nil)
	if err != nil {
		return err
	}
	var version map[string]any
	if err := json.Unmarshal(a.body, &version); a.status/100 != 2 || err != nil || version["cnr-api"] == nil {
		return fmt.Errorf("status %d without the version of its API", a.status)
	}
	return nil
}

// Within is a transport that calls a handler of this process.
type Within struct{ Handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t Within) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := &recorder{header: make(http.Header), status: http.StatusOK}
	t.Handler.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprint(w.status, " ", http.StatusText(w.status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
}

func (w *recorder) Write(p []byte) (int, error) { w.wrote = true; return w.body.Write(p) }

// Base removes the slash at the end of an address.
func Base(address string) string { return strings.TrimRight(address, "/") }

// Published tells of a package that could not be made public.
func Published(err error, organization, repository string) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.QuayPackage, "The release was pushed, but %s/%s cannot be made public: %v", organization, repository, err)
}
