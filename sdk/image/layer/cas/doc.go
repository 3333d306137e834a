// Package cas keeps content by its address in a directory: bounded, safe to
// share between processes, and safe to delete at any time.
//
// It is a cache. Nothing is fsynced, because everything in it can be made
// again: instead each file carries its size and a checksum, and a file that
// does not match (a crash, a full disk) is dropped and reported as missing. A
// file appears under its key by a rename, whole or not at all. What was not
// used for longest goes first when the bound is reached, but nothing that was
// used within the grace period, so that work in progress keeps its inputs.
package cas
