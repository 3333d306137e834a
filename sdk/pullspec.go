package sdk

import "strings"

// Scratch is the pull spec of the empty image.
const Scratch = "scratch"

// CheckPullSpec applies the API contract's rule for pull specifications
// (section 0.1): a tag or digest must be there, or at least a colon. It blames
// field.
func CheckPullSpec(field, spec string) error {
	if spec == Scratch || strings.ContainsAny(spec, ":@") {
		return nil
	}
	return FieldErrorf(field, "%s: %q is not a pull specification: add a tag (name:tag) or a digest (name@sha256:...)", field, spec)
}
