package manifest

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

var plain = regexp.MustCompile(`\A(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\z`)

// maxRelease bounds a release's text.
const maxRelease = 100

// IsRelease tells whether a text is three plain numbers.
func IsRelease(text string) bool { return len(text) <= maxRelease && plain.MatchString(text) }

// Next returns the release after the highest one: its first number is raised.
// Releases that are not three plain numbers do not count; without any, it is
// first.
func Next(releases []string, first string) string {
	var highest []*big.Int
	for _, release := range releases {
		if !IsRelease(release) {
			continue
		}
		var numbers []*big.Int
		for _, text := range strings.Split(release, ".") {
			n, _ := new(big.Int).SetString(text, 10)
			numbers = append(numbers, n)
		}
		if highest == nil || higher(numbers, highest) {
			highest = numbers
		}
	}
	if highest == nil {
		return first
	}
	return fmt.Sprintf("%s.0.0", highest[0].Add(highest[0], big.NewInt(1)))
}

func higher(a, b []*big.Int) bool {
	for i := range a {
		if c := a[i].Cmp(b[i]); c != 0 {
			return c > 0
		}
	}
	return false
}
