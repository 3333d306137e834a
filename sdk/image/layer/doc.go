// Package layer writes image layers: tar archives, compressed with gzip, in
// which the same content always gives the same bytes.
//
// A layer is a concatenation of gzip members, which every gzip reader takes for
// one stream. Content of some size is a member of its own (a file, a part of a
// file, a chunk of a long part), so it is found again by the digest of what is
// in it: a writer that has compressed it once copies the member from its cache
// into every later layer. Tar headers and small files lie between, in members
// that are compressed each time. So the work of making a layer is compressing
// what changed, and reading and hashing the rest.
package layer
