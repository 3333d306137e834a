package tree

import (
	"fmt"
	"path"

	"github.com/joelanford/ignore"
)

// ignoreFile is the name of files that exclude others from the catalog, with
// the patterns of .gitignore.
const ignoreFile = ".indexignore"

func isIgnoreFile(name string) bool { return path.Base(name) == ignoreFile }

// ignored returns which files are no part of the catalog, by opm's rules.
func (t *Tree) ignored() (func(name string) bool, error) {
	some := false
	for _, e := range t.files {
		some = some || isIgnoreFile(e.Path)
	}
	if !some {
		return func(string) bool { return false }, nil
	}
	matcher, err := ignore.NewMatcher(t.FS(), ignoreFile)
	if err != nil {
		return nil, unavailable(fmt.Errorf("catalog's %s: %w", ignoreFile, err))
	}
	return func(name string) bool { return isIgnoreFile(name) || matcher.Match(name, false) }, nil
}
