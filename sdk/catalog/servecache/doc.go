// Package servecache builds the cache that opm serve wants beside a catalog,
// and that makes it exit when it does not fit: by the formats, the digest and
// the modes of operator-registry v1.73.0.
//
// The work is done package by package. What a package gives to the cache
// depends on the text of its metas only, and is kept in a store under its
// digest. A new catalog is then assembled from packages: those that an edit did
// not touch are found, the edited one is made. What remains for each catalog is
// the digest, which runs over everything, and the layer, whose unchanged pieces
// are found by package layer.
//
// The cache is a function of the catalog alone: not of the way it came about,
// the machine, or what was in the store. In the pogreb format that needs a
// writer of our own, because the pogreb library seeds its hash table with a
// random number. It lays the records out package after package, so that one
// package's change shifts the others but alters none, and writes a hash table
// for them at once.
package servecache
