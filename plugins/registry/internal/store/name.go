package store

import (
	"fmt"
	"regexp"

	"github.com/opencontainers/go-digest"
)

var (
	repositoryName = regexp.MustCompile(`\A[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\z`)
	tagName        = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z`)
)

// maxRepositoryName is the length that clients can rely on: a host name of 255
// characters and the repository's make a file name on many of them.
const maxRepositoryName = 255

// CheckRepository returns ErrName unless name may be a repository's.
func CheckRepository(name string) error {
	if len(name) > maxRepositoryName || !repositoryName.MatchString(name) {
		return fmt.Errorf("%w: %.300q", ErrName, name)
	}
	return nil
}

// CheckTag returns ErrTagName unless name may be a tag's.
func CheckTag(name string) error {
	if !tagName.MatchString(name) {
		return fmt.Errorf("%w: %.300q", ErrTagName, name)
	}
	return nil
}

// ParseDigest returns ErrDigest unless text is a digest by an algorithm that
// the registry takes: sha256 or sha512.
func ParseDigest(text string) (digest.Digest, error) {
	d := digest.Digest(text)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%w: %.300q", ErrDigest, text)
	}
	switch d.Algorithm() {
	case digest.SHA256, digest.SHA512:
		return d, nil
	}
	return "", fmt.Errorf("%w: %s is neither sha256 nor sha512", ErrDigest, d.Algorithm())
}
