//go:build race

package main

// What a test with published bundles compares takes much longer under the race
// detector, which finds no more in it: make test also runs it without.
func init() { publishedPackages = 3 }
