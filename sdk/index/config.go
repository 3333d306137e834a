package index

import (
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// Config is the part of their configuration that all index handlers share. A
// plugin embeds it in its own.
type Config struct {
	BinaryImages map[string]map[string]string `hcl:"binary_images,optional" doc:"Where the opm binary comes from when a request names no binary_image: distribution scope, then OpenShift version, to pull spec or \"scratch\"."`
	ServeCache   string                       `hcl:"serve_cache,optional" doc:"Format of the serve cache in file-based indexes: \"pogreb.v1\" (the default), \"json\" or \"none\"."`

	stores storeOpener
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	for scope := range c.BinaryImages {
		if !slices.Contains(Scopes, scope) {
			return sdk.FieldErrorf("binary_images", "binary_images: %q is no distribution scope: use dev, stage or prod", scope)
		}
	}
	switch c.ServeCache {
	case "", CachePogreb, CacheJSON, CacheNone:
		return nil
	}
	return sdk.FieldErrorf("serve_cache", "serve_cache %q is unknown: use %s, %s or %s", c.ServeCache, CachePogreb, CacheJSON, CacheNone)
}

// The formats of the serve cache.
const (
	CachePogreb = "pogreb.v1"
	CacheJSON   = "json"
	CacheNone   = "none"
)

// Cache returns the format in force.
func (c *Config) Cache() string {
	if c.ServeCache == "" {
		return CachePogreb
	}
	return c.ServeCache
}

// Scopes are the distribution scopes, from the narrowest to the widest.
var Scopes = []string{"dev", "stage", "prod"}

// scopeRank returns a scope's place in Scopes, -1 for an unknown one.
func scopeRank(scope string) int { return slices.Index(Scopes, strings.ToLower(scope)) }
