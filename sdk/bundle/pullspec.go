package bundle

import (
	"regexp"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// PullSpec is the name of an image in its parts, as OLM's tools take it apart:
// by position, without asking whether the parts are well-formed. Two of them
// are equal if they have the same parts, so foo equals foo:latest. An image
// that is named by tag and digest keeps the tag in Repo.
type PullSpec struct {
	// Registry and Namespace may be empty. Repo may contain slashes.
	Registry, Namespace, Repo string
	// Tag is a tag, or a digest with its algorithm.
	Tag string
}

// ParsePullSpec takes any text apart.
func ParsePullSpec(text string) PullSpec {
	var s PullSpec
	parts := strings.SplitN(text, "/", 3)
	switch {
	case len(parts) == 3:
		s.Registry, s.Namespace = parts[0], parts[1]
	case len(parts) == 2 && strings.ContainsAny(parts[0], ".:"):
		s.Registry = parts[0]
	case len(parts) == 2:
		s.Namespace = parts[0]
	}
	s.Repo = parts[len(parts)-1]
	cut := strings.LastIndexByte(s.Repo, '@')
	if cut < 0 {
		cut = strings.LastIndexByte(s.Repo, ':')
	}
	if cut >= 0 {
		s.Repo, s.Tag = s.Repo[:cut], s.Repo[cut+1:]
	}
	if s.Tag == "" {
		s.Tag = "latest"
	}
	return s
}

// String returns the pull spec with its tag or digest written out.
func (s PullSpec) String() string {
	var b strings.Builder
	for _, part := range []string{s.Registry, s.Namespace} {
		if part != "" {
			b.WriteString(part)
			b.WriteByte('/')
		}
	}
	b.WriteString(s.Repo)
	if s.Pinned() {
		b.WriteByte('@')
	} else {
		b.WriteByte(':')
	}
	b.WriteString(s.Tag)
	return b.String()
}

// Pinned reports whether the image is named by digest.
func (s PullSpec) Pinned() bool { return strings.Contains(s.Tag, ":") }

// wellFormed matches the names that registries can have, more or less: it is
// here to keep texts that were put together from labels and settings from
// becoming something else than a name.
var wellFormed = func() *regexp.Regexp {
	const (
		host = `[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?(?::[0-9]+)?`
		name = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
		tag  = `[A-Za-z0-9_][A-Za-z0-9_.\-]*`
	)
	return regexp.MustCompile(`^(?:` + host + `/)?` + name + `(?:/` + name + `)*(?::` + tag + `)?(?:@[a-z0-9]+:[A-Fa-f0-9]{32,})?$`)
}()

// check refuses what cannot be an image's name.
func (s PullSpec) check() error {
	if text := s.String(); !wellFormed.MatchString(text) || len(text) > maxPullSpec {
		return sdk.Errorf(sdk.Invalid, "%q is not a pull spec", text)
	}
	return nil
}

// maxPullSpec is more than any registry allows.
const maxPullSpec = 1024

// enclosed returns the image in another namespace, with the one that it had
// and all parts of its repository joined by glue.
func (s PullSpec) enclosed(namespace, glue string) PullSpec {
	parts := strings.Split(s.Repo, "/")
	if s.Namespace != "" && s.Namespace != namespace {
		parts = append([]string{s.Namespace}, parts...)
	}
	s.Namespace, s.Repo = namespace, strings.Join(parts, glue)
	return s
}
