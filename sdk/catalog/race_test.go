//go:build race

package catalog_test

// The race detector makes all of this several times slower, and has nothing to
// find in comparing more: make test also runs these tests without it.
func init() { *histories, realPackages = 50, 3 }
