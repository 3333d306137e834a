package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/image"
)

// Labels of bundle images (handlers, section 5.1).
const (
	LabelPackage   = "operators.operatorframework.io.bundle.package.v1"
	labelManifests = "operators.operatorframework.io.bundle.manifests.v1"
	labelMetadata  = "operators.operatorframework.io.bundle.metadata.v1"
)

// Bundle is a bundle image that a request names.
type Bundle struct {
	// Spec is as the user wrote it, Pinned by digest.
	Spec    string
	Pinned  string
	Labels  map[string]string
	Created time.Time

	info *image.Info
}

// Package returns the operator that the image's label names; it may be empty.
func (b *Bundle) Package() string { return b.Labels[LabelPackage] }

// parallel bounds how many images are asked for at once.
const parallel = 8

// Bundles resolves bundle images in parallel; the result is in the order of
// specs. Every image that cannot be resolved is named, not only the first.
func (s *Session) Bundles(ctx context.Context, specs []string) ([]*Bundle, error) {
	bundles := make([]*Bundle, len(specs))
	err := each(ctx, len(specs), func(ctx context.Context, i int) error {
		m, err := s.Client.ResolveBundle(ctx, specs[i])
		if err != nil {
			return err
		}
		info, err := s.Client.InspectManifest(ctx, m, "")
		if err != nil {
			return err
		}
		bundles[i] = &Bundle{
			Spec: specs[i], Pinned: repository(specs[i]) + "@" + string(m.Digest),
			Labels: info.Labels, Created: info.Created, info: info,
		}
		return nil
	})
	return bundles, err
}

// each calls do for 0 to n-1, some at once, and joins the errors of all calls:
// a requester who made two mistakes is told of both.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	errs := make([]error, n)
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			errs[i] = do(ctx, i)
			return nil
		})
	}
	_ = group.Wait()
	return join(errs)
}

// join makes one error of several: its code is the first one's that is final,
// so that a mistake among outages is reported at once.
func join(errs []error) error {
	var texts []string
	var code sdk.Code
	var only error
	for _, err := range errs {
		if err == nil {
			continue
		}
		only = err
		texts = append(texts, err.Error())
		if c := sdk.CodeOf(err); code == "" || code == sdk.Unavailable {
			code = c
		}
	}
	if len(texts) < 2 {
		return only
	}
	return sdk.Errorf(code, "%w", several(slices.Compact(texts)))
}

// several are mistakes that are told together.
type several []string

func (s several) Error() string { return strings.Join(s, "; ") }

// CheckLabels demands labels with their values from every bundle.
func CheckLabels(bundles []*Bundle, required map[string]string) error {
	var faults []string
	for _, b := range bundles {
		for name, value := range required {
			if b.Labels[name] != value {
				faults = append(faults, fmt.Sprintf("bundle %s must have the label %s=%s and has %q", b.Spec, name, value, b.Labels[name]))
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	return sdk.Errorf(sdk.Invalid, "%w", several(faults))
}

// Mapping maps the packages that the bundles' labels name to the bundles as
// the user wrote them.
func Mapping(bundles []*Bundle) map[string][]string {
	mapping := make(map[string][]string)
	for _, b := range bundles {
		if name := b.Package(); name != "" {
			mapping[name] = append(mapping[name], b.Spec)
		}
	}
	return mapping
}

// Images are the bundles as a gate judges them.
func Images(bundles []*Bundle) []sdk.Image {
	images := make([]sdk.Image, 0, len(bundles))
	for _, b := range bundles {
		images = append(images, sdk.Image{Spec: b.Spec, Resolved: b.Pinned, Labels: b.Labels})
	}
	return images
}

// Unpack writes a bundle's manifests and metadata below a directory of the
// workspace, under these two names, and returns it.
func (s *Session) Unpack(ctx context.Context, b *Bundle) (dir string, err error) {
	dir, err = os.MkdirTemp(s.Job.Workspace, "bundle-")
	if err != nil {
		return "", sdk.Errorf(sdk.Unavailable, "make a directory for bundle %s: %v", b.Spec, err)
	}
	for _, part := range [][2]string{{"manifests", labelManifests}, {"metadata", labelMetadata}} {
		name := part[0]
		inImage := path.Clean("/" + or(b.Labels[part[1]], name))
		files := s.Client.Files(b.info)
		err := files.Extract(ctx, dir, inImage)
		if sdk.CodeOf(err) == sdk.NotFound {
			if _, missing := files.Stat(ctx, inImage); sdk.CodeOf(missing) == sdk.NotFound {
				return "", sdk.Errorf(sdk.Invalid, "image %s is no bundle: it has no directory %s", b.Spec, inImage)
			}
			// It is there, and a link in it leads nowhere.
			return "", sdk.Errorf(sdk.Invalid, "bundle %s cannot be read: %v", b.Spec, err)
		}
		if err != nil {
			return "", err
		}
		if inImage == "/"+name {
			continue
		}
		if err := os.Rename(filepath.Join(dir, inImage), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return "", sdk.Errorf(sdk.Invalid, "bundle %s: its directory %s cannot be used as %s: %v", b.Spec, inImage, name, err)
		}
	}
	return dir, nil
}

// Read unpacks and reads bundles, some at once.
func (s *Session) Read(ctx context.Context, bundles []*Bundle) ([]*catalog.Bundle, error) {
	read := make([]*catalog.Bundle, len(bundles))
	err := each(ctx, len(bundles), func(ctx context.Context, i int) error {
		dir, err := s.Unpack(ctx, bundles[i])
		if err != nil {
			return err
		}
		read[i], err = catalog.ReadBundle(dir, bundles[i].Pinned)
		return err
	})
	return read, err
}

// Missing drops the bundles that are present already (handlers, section 5.3):
// under the same pull spec, or with the same digest in another place, which is
// logged. The order is kept.
func (s *Session) Missing(ctx context.Context, bundles []*Bundle, present []string) []*Bundle {
	specs := make(map[string]bool, len(present))
	digests := make(map[string]string, len(present))
	for _, spec := range present {
		specs[spec] = true
		if _, digest, ok := strings.Cut(spec, "@"); ok {
			digests[digest] = spec
		}
	}
	var missing []*Bundle
	for _, b := range bundles {
		_, digest, _ := strings.Cut(b.Pinned, "@")
		switch other := digests[digest]; {
		case specs[b.Pinned]:
			s.Job.Logf(ctx, "bundle %s is in the index already", b.Pinned)
		case other != "":
			s.Job.Warnf(ctx, "bundle %s is in the index already, as %s", b.Pinned, other)
		default:
			missing = append(missing, b)
		}
	}
	return missing
}
