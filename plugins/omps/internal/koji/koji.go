// Package koji fetches the archive of manifests that belongs to a build (push
// service contract, section 10).
package koji

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
)

// maxAnswer bounds what is read of the hub's answer.
const maxAnswer = 16 << 20

// Client asks one Koji. Its fields are set once.
type Client struct {
	Hub, Root string
	HTTP      *http.Client
	// Timeout bounds each call and the download; 0 is no bound.
	Timeout time.Duration
	// MaxArchive bounds an archive in bytes.
	MaxArchive int64
}

func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Timeout > 0 {
		return context.WithTimeout(ctx, c.Timeout)
	}
	return context.WithCancel(ctx)
}

// call asks the hub. What comes back is a fault of Koji, unless it is rpcFault.
func (c *Client) call(ctx context.Context, method string, params ...any) (any, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Hub, bytes.NewReader(encodeCall(method, params...)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/xml")
	request.Header.Set("User-Agent", "koji/1")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, fault.New(fault.Koji, "Koji did not answer: %v", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fault.New(fault.Koji, "Koji answered %s with status %d.", method, response.StatusCode)
	}
	value, err := decodeAnswer(io.LimitReader(response.Body, maxAnswer))
	var refused *rpcFault
	if err != nil && !errors.As(err, &refused) {
		return nil, fault.New(fault.Koji, "Koji's answer to %s cannot be read: %v", method, err)
	}
	return value, err
}

// Ping makes the cheapest call.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.call(ctx, "getAPIVersion")
	return err
}

// Archive downloads the archive of a build's manifests.
func (c *Client) Archive(ctx context.Context, nvr string) ([]byte, error) {
	address, err := c.locate(ctx, nvr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fault.New(fault.Koji, "The archive of %s has no address that can be used.", nvr)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, fault.New(fault.Koji, "The archive of %s cannot be downloaded: %v", nvr, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fault.New(fault.Koji, "The archive of %s cannot be downloaded: status %d.", nvr, response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, c.MaxArchive+1))
	if err != nil {
		return nil, fault.New(fault.Koji, "The archive of %s cannot be downloaded: %v", nvr, err)
	}
	if int64(len(data)) > c.MaxArchive {
		return nil, fault.New(fault.UploadedFile, "The archive of %s is larger than limit: %d bytes are allowed.", nvr, c.MaxArchive)
	}
	return data, nil
}

// locate finds the archive's address.
func (c *Client) locate(ctx context.Context, nvr string) (string, error) {
	answer, err := c.call(ctx, "getBuild", nvr)
	var refused *rpcFault
	if errors.As(err, &refused) {
		if text := strings.ToLower(refused.Text); strings.Contains(text, "invalid format") || strings.Contains(text, "nvr") {
			return "", fault.New(fault.BuildNotFound, "NVR not found: %s", nvr)
		}
		return "", fault.New(fault.Koji, "Koji refuses to tell about %s: %v", nvr, refused)
	}
	if err != nil {
		return "", err
	}
	build, ok := answer.(map[string]any)
	if !ok {
		return "", fault.New(fault.BuildNotFound, "NVR not found: %s", nvr)
	}
	extra, _ := build["extra"].(map[string]any)
	typeinfo, _ := extra["typeinfo"].(map[string]any)
	operator, _ := typeinfo["operator-manifests"].(map[string]any)
	if file, ok := operator["archive"].(string); ok && file != "" {
		return c.file(build, nvr, file)
	}
	if file, ok := extra["operator_manifests_archive"].(string); ok && file != "" {
		return c.log(ctx, build, nvr, file)
	}
	return "", fault.New(fault.NotAnOperator, "Not an operator image: %s", nvr)
}

func (c *Client) file(build map[string]any, nvr, file string) (string, error) {
	parts := []string{"packages", text(build, "name"), text(build, "version"), text(build, "release"), "files", "operator-manifests", file}
	if volume := text(build, "volume_name"); volume != "" && volume != "DEFAULT" {
		parts = append([]string{"vol", volume}, parts...)
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\") {
			return "", fault.New(fault.Koji, "Koji tells of a file of %s that has no usable path: %.200q.", nvr, strings.Join(parts, "/"))
		}
	}
	return c.under(parts), nil
}

// log finds an archive that is kept among the build's logs.
func (c *Client) log(ctx context.Context, build map[string]any, nvr, file string) (string, error) {
	id, ok := build["build_id"].(int64)
	if !ok {
		return "", fault.New(fault.Koji, "Koji does not tell the ID of the build %s.", nvr)
	}
	answer, err := c.call(ctx, "getBuildLogs", id)
	var refused *rpcFault
	if errors.As(err, &refused) {
		return "", fault.New(fault.Koji, "Koji refuses to tell the logs of %s: %v", nvr, refused)
	}
	if err != nil {
		return "", err
	}
	logs, _ := answer.([]any)
	for _, entry := range logs {
		entry, _ := entry.(map[string]any)
		if text(entry, "name") != file {
			continue
		}
		where := text(entry, "path")
		if cleaned := path.Clean("/" + where); where == "" || cleaned != "/"+strings.TrimPrefix(where, "/") {
			return "", fault.New(fault.Koji, "Koji tells of a log of %s that has no usable path: %.200q.", nvr, where)
		}
		return c.under(strings.Split(strings.TrimPrefix(where, "/"), "/")), nil
	}
	return "", fault.New(fault.ArchiveNotFound, "The archive %s of the build %s is not among its logs.", file, nvr)
}

func (c *Client) under(parts []string) string {
	address := strings.TrimRight(c.Root, "/")
	for _, part := range parts {
		address += "/" + url.PathEscape(part)
	}
	return address
}

// text is a member as text, "" if there is none.
func text(members map[string]any, name string) string {
	if value := members[name]; value != nil {
		return fmt.Sprint(value)
	}
	return ""
}
