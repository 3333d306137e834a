// Package catalog edits what index images hold: it adds bundles to operator
// packages, removes and deprecates them, and says what changed.
//
// A catalog comes in two forms. A file-based catalog is a set of JSON
// documents, here called blobs; a database is the SQLite file of older
// indexes, which newer ones may still carry along. Both are edited by the same
// upgrade graph, so that one request means the same in either form, and the
// outcome is that of operator-registry v1.73.0: `opm registry add` with alpha
// features, then `opm migrate` with CSV metadata.
//
// Work is done package by package. Nothing here decodes a whole catalog, and
// what an edit does not touch stays byte for byte as it was.
//
// Bundles, blobs and databases come from images that strangers made. They are
// bounded before they are read, and what is wrong with them is reported as an
// error of code sdk.Invalid whose message can be shown to the requester.
package catalog
