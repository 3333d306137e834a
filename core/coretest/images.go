package coretest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// Images is a registry of tags in memory. The zero value is empty.
type Images struct {
	mu   sync.Mutex
	tags map[string]string
	// gone are digests that the registry does not have any more.
	gone map[string]bool
	// Moves are the tags that were moved, in order.
	moves []string
	// silent are the tags whose next move is made and not answered.
	silent map[string]bool
	// hidden are the tags whose next reading is not answered.
	hidden map[string]bool
	// OnMove, if it is not nil, is called before a session moves a tag. It is set
	// before use.
	OnMove func(spec string)
}

var _ core.Images = (*Images)(nil)

func (i *Images) Session([]sdk.Grant) core.ImageSession { return imageSession{i} }
func (*Images) BuildTag(tag string) string              { return "build.example.com/iib-build:" + tag }
func (*Images) BuildRepository() string                 { return "build.example.com/iib-build" }
func (*Images) DeniedNetworks() []string                { return nil }
func (*Images) ReaderSpec(spec string) string           { return strings.Replace(spec, "build.", "read.", 1) }

// Set makes a tag point to a digest, as another client would.
func (i *Images) Set(spec, digest string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tags == nil {
		i.tags = make(map[string]string)
	}
	i.tags[spec] = digest
}

// Silence lets the next move of a tag be made, and its answer be lost.
func (i *Images) Silence(spec string) {
	i.mark(&i.silent, spec)
}

// Hide lets the next reading of a tag get no answer.
func (i *Images) Hide(spec string) {
	i.mark(&i.hidden, spec)
}

// Collect makes the registry forget an image.
func (i *Images) Collect(digest string) {
	i.mark(&i.gone, digest)
}

func (i *Images) mark(marked *map[string]bool, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if *marked == nil {
		*marked = make(map[string]bool)
	}
	(*marked)[name] = true
}

// Moves returns the pull specs whose tags a session moved, in order.
func (i *Images) Moves() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.moves)
}

type imageSession struct{ *Images }

func (imageSession) Access(string) (sdk.Access, error) { return sdk.Access{PlainHTTP: true}, nil }

func (s imageSession) Digest(_ context.Context, spec string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hidden[spec] {
		delete(s.hidden, spec)
		return "", sdk.Errorf(sdk.Unavailable, "%s: the connection was reset", spec)
	}
	digest, ok := s.tags[spec]
	if !ok {
		return "", sdk.Errorf(sdk.NotFound, "%s: not found", spec)
	}
	return digest, nil
}

func (imageSession) PushList(_ context.Context, _ string, arches map[string]sdk.Digest, _ bool) (string, error) {
	sum := sha256.Sum256(fmt.Append(nil, arches))
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

func (s imageSession) Move(ctx context.Context, pinned, spec string, when core.MoveCondition) (string, error) {
	_, digest, _ := strings.Cut(pinned, "@")
	if s.OnMove != nil {
		s.OnMove(spec)
	}
	if when.Ready != nil {
		if err := when.Ready(ctx); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone[digest] {
		return "", sdk.Errorf(sdk.NotFound, "%s: not found", pinned)
	}
	if now := s.tags[spec]; when.Was != nil && now != digest && now != *when.Was {
		return "", sdk.Errorf(sdk.Conflict, "%s: somebody else has moved the tag", spec)
	}
	if s.tags == nil {
		s.tags = make(map[string]string)
	}
	s.tags[spec] = digest
	s.moves = append(s.moves, spec)
	if s.silent[spec] {
		delete(s.silent, spec)
		return "", sdk.Errorf(sdk.Unavailable, "%s: the connection was reset", spec)
	}
	return digest, nil
}

func (s imageSession) Delete(_ context.Context, spec string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tags[spec]; !ok {
		return sdk.Errorf(sdk.NotFound, "%s: not found", spec)
	}
	delete(s.tags, spec)
	return nil
}
