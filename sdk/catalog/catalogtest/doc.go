// Package catalogtest makes catalogs and operator bundles for tests and
// benchmarks: of any size, shaped like real ones, and the same for the same
// seed everywhere.
package catalogtest
