package bundle

import "regexp"

// candidate is a run of characters that a pull spec may have.
var candidate = regexp.MustCompile(`[A-Za-z0-9/\-._@:]+`)

// wholeSpec is a pull spec as it can be told from other text: the registry has
// a dot, and the tag or digest is there. Without the tag every address on the
// web would be one.
var wholeSpec = func() *regexp.Regexp {
	const (
		name     = `[A-Za-z0-9](?:[A-Za-z0-9\-._]*[A-Za-z0-9])?`
		registry = `[A-Za-z0-9][A-Za-z0-9\-._]*\.(?:[A-Za-z0-9\-._]*)[A-Za-z0-9](?::[0-9]+)?`
		tag      = `(?::` + name + `|@sha256:[A-Fa-f0-9]{64})`
	)
	return regexp.MustCompile(`^` + registry + `/(?:` + name + `/)*` + name + tag + `$`)
}()

// guess returns the bounds of everything in a text that looks like a pull
// spec, from left to right.
func guess(text string) [][2]int {
	var found [][2]int
	for _, run := range candidate.FindAllStringIndex(text, -1) {
		from, to := run[0], run[1]
		for from < to && !isAlnum(text[from]) {
			from++
		}
		for to > from && !isAlnum(text[to-1]) {
			to--
		}
		if wholeSpec.MatchString(text[from:to]) {
			found = append(found, [2]int{from, to})
		}
	}
	return found
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
