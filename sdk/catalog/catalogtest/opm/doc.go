// Package opm is operator-registry's own way to edit a catalog, for tests that
// compare ours with it: what opm registry add, rm and deprecatetruncate do to a
// database, and its migration to a file-based catalog.
package opm
