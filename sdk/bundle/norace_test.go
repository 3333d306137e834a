//go:build !race

package bundle

import "math"

// atMost bounds the published bundles that are tried.
const atMost = math.MaxInt
