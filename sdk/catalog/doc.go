// Package catalog edits what index images hold: it adds bundles to operator
// packages, removes and deprecates them, and says what changed.
//
// A catalog comes in two forms. A file-based catalog is a set of JSON
// documents, here called blobs; a database is the SQLite file of older
// indexes, which newer ones may still carry along. Both are edited by the same
// upgrade graph, so that one request means the same in either form, and the
// outcome is that of operator-registry v1.73.0: `opm registry add` with alpha
// features, then `opm migrate` with CSV metadata. Random histories of requests
// are compared with operator-registry itself. The differences are these:
//
//   - The order of the bundles in a request does not matter: they are added by
//     version. operator-registry takes them in random order, which may decide
//     what comes out.
//   - A bundle with two ClusterServiceVersions is refused, not read by half,
//     and so is one that names no channel and would be lost.
//   - A bundle that has a release besides its version can be added in every
//     mode; operator-registry makes an invalid catalog of it in the mode
//     replaces.
//   - A request that has one bundle twice is refused in any case;
//     operator-registry takes it where it may overwrite, and overwrites the
//     bundle with itself.
//   - The semver modes take the manifests of older bundles from the package
//     that is added to, not from all others as well.
//   - A malformed skip range of a bundle that is in the catalog already does not
//     stop an edit: published catalogs have such. A new bundle with one is
//     refused.
//   - A file-based package that no database goes with forgets bundles and
//     upgrade edges that drop out of all channels. A bundle that replaces such a bundle is accepted
//     together with it, and one that skips it does not bring it back.
//
// Work is done package by package. Nothing here decodes a whole catalog, and
// what an edit does not touch stays byte for byte as it was.
//
// Bundles, blobs and databases come from images that strangers made. They are
// bounded before they are read, and what is wrong with them is reported as an
// error of code sdk.Invalid whose message can be shown to the requester.
package catalog
