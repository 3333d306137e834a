//go:build race

package catalog_test

// The race detector makes SQLite, which is one large Go program here, ten
// times slower; it has nothing to find in comparing more histories.
func init() { *histories = 50 }
