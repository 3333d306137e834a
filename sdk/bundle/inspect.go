package bundle

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/iib-engine/iib/sdk"
)

// DigestFunc returns the digest that an image's pull spec stands for, in the
// form "sha256:...", and thereby proves that the image exists. It is called
// concurrently.
type DigestFunc func(ctx context.Context, pullSpec string) (string, error)

// LabelsFunc returns an image's labels; nil is none. It is called concurrently.
type LabelsFunc func(ctx context.Context, pullSpec string) (map[string]string, error)

// parallel bounds the questions that are asked of registries at a time.
const parallel = 16

// forEach asks about every pull spec at once and returns the answers in the
// same order. The error names every image that could not be answered for.
func forEach[T any](ctx context.Context, specs []PullSpec, ask func(context.Context, string) (T, error)) ([]T, error) {
	answers := make([]T, len(specs))
	errs := make([]error, len(specs))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, s := range specs {
		g.Go(func() error {
			answers[i], errs[i] = ask(ctx, s.String())
			return nil
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := joined(specs, errs); err != nil {
		return nil, err
	}
	return answers, nil
}

// joined makes one error of those of several images. It may be retried only if
// every one of them may.
func joined(specs []PullSpec, errs []error) error {
	var texts []string
	var code sdk.Code
	for i, err := range errs {
		if err == nil {
			continue
		}
		if c := sdk.CodeOf(err); code == "" || code == sdk.Unavailable {
			code = c
		}
		text := err.Error()
		if spec := specs[i].String(); !strings.Contains(text, spec) {
			text = spec + ": " + text
		}
		texts = append(texts, text)
	}
	switch len(texts) {
	case 0:
		return nil
	case 1:
		return sdk.Errorf(code, "%s", texts[0])
	}
	return sdk.Errorf(code, "%d of %d images: %s", len(texts), len(specs), strings.Join(texts, "; "))
}

const (
	// LabelBundle marks an image as a bundle.
	LabelBundle = "com.redhat.delivery.operator.bundle"
	// LabelPinned marks a bundle that was regenerated and pinned before.
	LabelPinned = "com.redhat.iib.pinned"
)

// IsBundleImage reports whether an image's labels say that it is a bundle. A
// label that is not a boolean is an error of code Invalid.
func IsBundleImage(labels map[string]string) (bool, error) { return boolean(labels, LabelBundle) }

// IsPinned reports whether a bundle image's labels say that its pull specs
// were pinned before. A label that is not a boolean is an error of code
// Invalid.
func IsPinned(labels map[string]string) (bool, error) { return boolean(labels, LabelPinned) }

// boolean reads a label the way YAML 1.2 spells booleans; a missing one is
// false.
func boolean(labels map[string]string, name string) (bool, error) {
	value, ok := labels[name]
	switch value {
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	if !ok {
		return false, nil
	}
	return false, sdk.Errorf(sdk.Invalid, "the label %s is %q; it must be true or false", name, value)
}

// bundleImages returns those of the pull specs that name bundles.
func bundleImages(ctx context.Context, specs []PullSpec, labels LabelsFunc) ([]PullSpec, error) {
	isBundle, err := forEach(ctx, specs, func(ctx context.Context, spec string) (bool, error) {
		l, err := labels(ctx, spec)
		if err != nil {
			return false, fmt.Errorf("read the labels of %s: %w", spec, err)
		}
		return IsBundleImage(l)
	})
	if err != nil {
		return nil, err
	}
	var bundles []PullSpec
	for i, s := range specs {
		if isBundle[i] {
			bundles = append(bundles, s)
		}
	}
	return bundles, nil
}
