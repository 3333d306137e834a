package image

import (
	"context"
	"net/http"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// TryPush finds out whether images may be pushed to the repository that spec
// names, without leaving anything there: it begins the upload of a blob and
// cancels it. It tries once. The time is the registry's own, zero if it does not
// tell.
func (c *Client) TryPush(ctx context.Context, spec string) (clock time.Time, err error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return clock, err
	}
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return clock, err
	}
	clock, err = c.tryPush(ctx, ref, access)
	if err != nil {
		_, err = settle(ctx, "push to "+ref.Name(), err)
	}
	return clock, err
}

func (c *Client) tryPush(ctx context.Context, ref Ref, access sdk.Access) (clock time.Time, err error) {
	s, err := c.session(ctx, ref, access, scope(ref.Repository, push))
	if err != nil {
		return clock, err
	}
	resp, err := c.do(ctx, s, call{
		method: http.MethodPost,
		path:   "/v2/" + ref.Repository + "/blobs/uploads/",
		want:   []int{http.StatusAccepted},
	})
	if err != nil {
		return clock, err
	}
	defer resp.Body.Close()
	// Registries should tell the time, and need not.
	clock, _ = http.ParseTime(resp.Header.Get("Date"))
	location, err := resp.Location()
	if err == nil {
		c.cancelUpload(ctx, s, location.String())
	}
	return clock, err
}

// cancelUpload asks the registry to forget an upload. One that cannot do so
// forgets it by itself after a time.
func (c *Client) cancelUpload(ctx context.Context, s *session, location string) {
	resp, err := c.do(ctx, s, call{
		method: http.MethodDelete,
		path:   location,
		want:   []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK},
	})
	if err == nil {
		resp.Body.Close()
	}
}
