//go:build race

package bundle

// atMost bounds the published bundles that are tried. Under the race detector
// each takes ten times as long, and the last finds no more than the first.
const atMost = 25
