package tree

import (
	"cmp"
	"io/fs"
	"iter"
	"path"
	"regexp"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// packageName is what a package may be called to become a path.
var packageName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// CheckPackageName refuses names that must not become paths.
func CheckPackageName(name string) error {
	if !packageName.MatchString(name) || strings.Contains(name, "..") || len(name) > 253 {
		return sdk.Errorf(sdk.Invalid, "package name %q: use lower-case letters, digits, dots and hyphens, beginning and ending with a letter or a digit", name)
	}
	return nil
}

const (
	maxPath      = 4096
	maxComponent = 255
)

// checkPath refuses paths that an image should not have, or that mean
// something to a layer.
func checkPath(name string) error {
	if !fs.ValidPath(name) || len(name) > maxPath {
		return invalid("path %q: not a clean path below the catalog's directory", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxComponent || strings.HasPrefix(part, ".wh.") || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return invalid("path %q: a name in it is too long, a whiteout, or has control characters", name)
		}
	}
	return nil
}

// comparePaths orders paths as fs.WalkDir visits them, which is the order that
// opm reads a catalog in: component by component, the root first.
func comparePaths(a, b string) int {
	if a == "." || b == "." {
		return cmp.Compare(btoi(b == "."), btoi(a == "."))
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		ca, cb := a[i], b[i]
		switch {
		case ca == cb:
			continue
		case ca == '/':
			return -1
		case cb == '/':
			return 1
		case ca < cb:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// parents yields the directories above a path, the nearest first, without the
// root.
func parents(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if !yield(dir) {
				return
			}
		}
	}
}
