package image

import (
	"context"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
)

// Copied tells what Copy did.
type Copied struct {
	// Manifest is the copy; its digest is that of the source.
	*Manifest
	// Sent is the number of bytes of blobs that went out.
	Sent int64
}

// Copy brings an image, or a list with all its images, from src to dst, bytes
// and digests unchanged: by digest if dst has no tag, else the tag is moved
// last, when everything is there. Each side is reached with its own access.
// Within a repository only the tag moves. Within a registry blobs are mounted; where that is not possible, and between
// registries, they pass through this machine. What dst has is not sent again.
func (c *Client) Copy(ctx context.Context, src, dst string) (*Copied, error) {
	return c.CopyWhen(ctx, src, dst, Condition{})
}

// Condition is what must hold for a tag to be moved; the zero value is nothing.
type Condition struct {
	// Was, if it is not nil, is what the tag must be: a digest, or empty if it
	// must not be there. A tag that is elsewhere is a Conflict. It is for the
	// registry to check, and those that know no conditional requests do not: it
	// keeps late writes out, and does not replace looking at the tag before.
	Was *sdk.Digest
	// Ready, if it is not nil, is called when all is there and nothing is left
	// to do but to move the tag. Its error ends the copy.
	Ready func(context.Context) error
}

func (w Condition) header() http.Header {
	switch {
	case w.Was == nil:
		return nil
	case *w.Was == "":
		return http.Header{"If-None-Match": {"*"}}
	}
	return http.Header{"If-Match": {`"` + string(*w.Was) + `"`}}
}

// CopyWhen is Copy, under a condition.
func (c *Client) CopyWhen(ctx context.Context, src, dst string, when Condition) (*Copied, error) {
	from, err := ParseRef(src)
	if err != nil {
		return nil, err
	}
	to, err := ParseRef(dst)
	if err != nil {
		return nil, err
	}
	m, err := c.manifest(ctx, from)
	if err != nil {
		return nil, err
	}
	var sent int64
	if from.Name() != to.Name() {
		if sent, err = c.copyContent(ctx, m, to); err != nil {
			return nil, err
		}
	}
	if when.Ready != nil {
		if err := when.Ready(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := c.putManifest(ctx, to, m.MediaType, m.Raw, when.header()); err != nil {
		return nil, err
	}
	copied := *m
	copied.Ref = to.WithDigest(m.Digest)
	return &Copied{Manifest: &copied, Sent: sent}, nil
}

// copyContent copies all that a manifest refers to.
func (c *Client) copyContent(ctx context.Context, m *Manifest, to Ref) (int64, error) {
	if !m.IsList() {
		return c.copyBlobs(ctx, m, to)
	}
	counts := make([]int64, len(m.list.Manifests))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.parallel)
	for i, d := range m.list.Manifests {
		g.Go(func() (err error) {
			counts[i], err = c.copyImage(ctx, m, d, to)
			return err
		})
	}
	err := g.Wait()
	return total(counts), err
}

func total(counts []int64) int64 {
	var sum int64
	for _, n := range counts {
		sum += n
	}
	return sum
}

func (c *Client) copyImage(ctx context.Context, list *Manifest, d v1.Descriptor, to Ref) (int64, error) {
	child, err := c.child(ctx, list, d)
	if err != nil {
		return 0, err
	}
	target := to.WithDigest(child.Digest)
	if _, err := c.Digest(ctx, target.String()); err == nil {
		// A registry takes a manifest only after its blobs.
		return 0, nil
	} else if code := sdk.CodeOf(err); code != sdk.NotFound && code != sdk.Denied {
		// Denied too may mean that the repository is yet to be made.
		return 0, err
	}
	sent, err := c.copyBlobs(ctx, child, to)
	if err != nil {
		return sent, err
	}
	_, err = c.putManifest(ctx, target, child.MediaType, child.Raw, nil)
	return sent, err
}

func (c *Client) copyBlobs(ctx context.Context, m *Manifest, to Ref) (int64, error) {
	ds := append([]v1.Descriptor{m.image.Config}, m.image.Layers...)
	counts := make([]int64, len(ds))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.parallel)
	for i, d := range ds {
		if len(d.URLs) > 0 {
			// A foreign layer is in no registry.
			continue
		}
		g.Go(func() (err error) {
			counts[i], err = c.copyBlob(ctx, m.Ref, to, digestOf(d.Digest), d.Size)
			return err
		})
	}
	err := g.Wait()
	return total(counts), err
}
