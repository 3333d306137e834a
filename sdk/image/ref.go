package image

import (
	"errors"
	"strings"

	"github.com/distribution/reference"

	"github.com/iib-engine/iib/sdk"
)

// maxSpec is well above the longest name, tag and digest together.
const maxSpec = 1024

// Ref is a parsed pull spec. Its fields are valid if ParseRef or a method of
// another valid Ref made it; the zero value names nothing.
type Ref struct {
	// Registry is the host, with its port if the spec has one.
	Registry string
	// Repository is the path below the registry.
	Repository string
	// Tag and Digest are empty when the spec has none. If both are set the
	// digest decides which image is meant.
	Tag    string
	Digest sdk.Digest
}

// ParseRef parses a pull spec: [registry[:port]/]path[:tag][@sha256:...]. A spec
// without a registry belongs to docker.io, as everywhere. The error is Invalid.
func ParseRef(spec string) (Ref, error) {
	if len(spec) > maxSpec {
		return Ref{}, sdk.Errorf(sdk.Invalid, "pull spec %.60q... has %d characters; at most %d are allowed", spec, len(spec), maxSpec)
	}
	named, err := reference.ParseNormalizedNamed(spec)
	if err != nil {
		return Ref{}, sdk.Errorf(sdk.Invalid, "pull spec %q: %s", spec, specFault(spec, err))
	}
	ref := Ref{Registry: reference.Domain(named), Repository: reference.Path(named)}
	if tagged, ok := named.(reference.Tagged); ok {
		ref.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		ref.Digest = sdk.Digest(digested.Digest())
		if !validDigest(ref.Digest) {
			return Ref{}, sdk.Errorf(sdk.Invalid, "pull spec %q: the digest is not sha256 with 64 lower-case hexadecimal digits", spec)
		}
	}
	return ref, nil
}

// specFault says what to change about a spec that does not parse.
func specFault(spec string, err error) string {
	switch {
	case spec == "":
		return "it is empty; name an image, such as registry.example.com/team/image:tag"
	case strings.TrimSpace(spec) != spec:
		return "remove the white space around it"
	case strings.Contains(spec, "://"):
		return "remove what stands before and including \"://\""
	case strings.Contains(spec, "@") && !strings.Contains(spec, "@sha256:"):
		return "only digests that begin with sha256: are supported"
	case parses(strings.ToLower(spec)):
		return "the repository and the digest must be in lower case"
	case errors.Is(err, reference.ErrNameTooLong):
		return "the repository has more than 255 characters"
	}
	return "it is not of the form registry/repository:tag or registry/repository@sha256:digest"
}

func parses(spec string) bool {
	_, err := reference.ParseNormalizedNamed(spec)
	return err == nil
}

// Name returns registry/repository, without tag and digest.
func (r Ref) Name() string { return r.Registry + "/" + r.Repository }

// String returns the whole pull spec, with the registry spelled out.
func (r Ref) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// WithDigest returns the ref pinned to a digest, without its tag.
func (r Ref) WithDigest(digest sdk.Digest) Ref {
	r.Tag, r.Digest = "", digest
	return r
}

// WithTag returns the ref with another tag and no digest.
func (r Ref) WithTag(tag string) Ref {
	r.Tag, r.Digest = tag, ""
	return r
}

// Loopback tells whether the registry is this machine by its very name, so that
// it may be reached without TLS.
func (r Ref) Loopback() bool { return isLoopback(r.Registry) }

// identifier is what the registry is asked for.
func (r Ref) identifier() string {
	switch {
	case r.Digest != "":
		return string(r.Digest)
	case r.Tag != "":
		return r.Tag
	}
	return "latest"
}

const digestPrefix = "sha256:"

func validDigest(d sdk.Digest) bool {
	hex, ok := strings.CutPrefix(string(d), digestPrefix)
	if !ok || len(hex) != 64 {
		return false
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
