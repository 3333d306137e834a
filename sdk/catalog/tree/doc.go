// Package tree holds an index's catalog as an immutable tree of files whose
// content lies in a store on disk, by digest.
//
// A catalog is imported once per index: streamed, kept by digest, and scanned
// for where each meta begins, what its schema is and whose package it is,
// without decoding any. The result is remembered, so that the next request on
// the same index starts from it in milliseconds. An edit makes a new tree that
// shares all files but those that hold the edited package, and in those only
// the package's own bytes change: unknown schemas, deprecations, key order and
// number formats of everything else survive byte for byte.
//
// What counts as part of the catalog is what opm v1.73.0 takes for it: every
// file that no .indexignore excludes, JSON or YAML, in any layout. Trees come
// from images that strangers made, so size, number, nesting and names are
// bounded by Limits.
package tree
