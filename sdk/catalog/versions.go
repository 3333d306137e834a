package catalog

import (
	"cmp"

	"github.com/blang/semver/v4"
	libsemver "github.com/operator-framework/operator-registry/pkg/lib/semver"
)

// compareBuild orders versions; two that differ only in build metadata are
// ordered by that, and one without comes before one with.
func compareBuild(a, b semver.Version) (int, error) { return libsemver.BuildIdCompare(a, b) }

// compareVersions orders versions as strings. Malformed ones come first.
func compareVersions(a, b string) int {
	va, errA := semver.Parse(a)
	vb, errB := semver.Parse(b)
	switch {
	case errA != nil && errB != nil:
		return cmp.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	c, err := compareBuild(va, vb)
	if err != nil {
		return va.Compare(vb)
	}
	return c
}
