package image

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/iib-engine/iib/sdk"
)

// Tag makes a tag of the same repository point to an image or list that is
// there, moving the tag if it exists. pinned names the image by digest.
func (c *Client) Tag(ctx context.Context, pinned, tag string) error {
	ref, err := ParseRef(pinned)
	if err != nil {
		return err
	}
	target, err := ParseRef(ref.WithTag(tag).String())
	if err != nil || tag == "" || target.Tag != tag {
		return sdk.Errorf(sdk.Invalid, "tag %.140q: a tag has 1 to 128 letters, digits, underscores, dots and dashes, and begins with neither dot nor dash", tag)
	}
	m, err := c.manifest(ctx, ref)
	if err != nil {
		return err
	}
	_, err = c.putManifest(ctx, target, m.MediaType, m.Raw, nil)
	return err
}

// DeleteTag removes a tag and leaves what it points to. A tag that does not
// exist is NotFound; a registry that deletes no tags is Denied.
func (c *Client) DeleteTag(ctx context.Context, spec string) error {
	ref, err := ParseRef(spec)
	if err != nil {
		return err
	}
	if ref.Tag == "" || ref.Digest != "" {
		return sdk.Errorf(sdk.Invalid, "image %s: name the tag to delete, without a digest", ref)
	}
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return err
	}
	return c.attempt(ctx, "image "+ref.String(), func(ctx context.Context) error {
		s, err := c.session(ctx, ref, access, scope(ref.Repository, remove))
		if err != nil {
			return err
		}
		resp, err := c.do(ctx, s, call{
			method: http.MethodDelete,
			path:   "/v2/" + ref.Repository + "/manifests/" + ref.Tag,
			want:   []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent},
		})
		var status *statusError
		if errors.As(err, &status) && (status.status == http.StatusMethodNotAllowed || status.has("UNSUPPORTED", "DIGEST_INVALID")) {
			return sdk.Errorf(sdk.Denied, "image %s: the registry does not delete tags", ref)
		}
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// maxTags bounds a listing; repositories of builds collect very many.
const maxTags = 1_000_000

// Tags returns the tags of a repository in the registry's order.
func (c *Client) Tags(ctx context.Context, spec string) ([]string, error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return nil, err
	}
	access, err := c.access(ctx, ref.String())
	if err != nil {
		return nil, err
	}
	var tags []string
	last := ""
	for {
		var page []string
		err := c.attempt(ctx, "repository "+ref.Name(), func(ctx context.Context) error {
			page, err = c.tagsAfter(ctx, ref, access, last)
			return err
		})
		if err != nil {
			return nil, err
		}
		tags = append(tags, page...)
		// A page that does not move on would never end.
		if len(page) < tagsPage || page[len(page)-1] == last {
			return tags, nil
		}
		if len(tags) > maxTags {
			return nil, sdk.Errorf(sdk.Invalid, "repository %s: it has more than %d tags", ref.Name(), maxTags)
		}
		last = page[len(page)-1]
	}
}

const tagsPage = 1000

func (c *Client) tagsAfter(ctx context.Context, ref Ref, access sdk.Access, last string) ([]string, error) {
	s, err := c.session(ctx, ref, access, scope(ref.Repository, pull))
	if err != nil {
		return nil, err
	}
	query := url.Values{"n": {"1000"}}
	if last != "" {
		query.Set("last", last)
	}
	resp, err := c.do(ctx, s, call{
		method: http.MethodGet,
		path:   "/v2/" + ref.Repository + "/tags/list?" + query.Encode(),
		want:   []int{http.StatusOK},
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, fits, err := readBounded(resp.Body, 4<<20)
	if err != nil {
		return nil, err
	}
	var list struct{ Tags []string }
	if !fits || json.Unmarshal(raw, &list) != nil {
		return nil, sdk.Errorf(sdk.Invalid, "repository %s: the registry's list of tags is malformed", ref.Name())
	}
	return list.Tags, nil
}
