package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxCandidates bounds the work for one suggestion: a file with thousands of
// names, all wrong, must not take minutes to refuse.
const maxCandidates = 100

// didYouMean returns a sentence that proposes the candidate nearest to what was
// written, with a space before it, or "".
func didYouMean(written string, candidates []string) string {
	best, bestDistance := "", 0
	for i, c := range candidates {
		if i == maxCandidates {
			break
		}
		limit := max(1, min(len(written), len(c))/3)
		if strings.EqualFold(written, c) {
			best = c
			break
		}
		d := distance(written, c, limit)
		if d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	if best == "" || best == written {
		return ""
	}
	return fmt.Sprintf(" Did you mean %s?", quote(best))
}

// distance returns how many letters have to be added, removed, replaced or
// swapped with their neighbour to get from a to b, or some number above limit
// if that is above limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 100 {
		return limit + 1
	}
	var before []int // the row before row
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			replaced := row[j]
			if a[i] != b[j] {
				replaced++
			}
			next[j+1] = min(replaced, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// alternatives returns names as a quoted list: "a", "b" or "c".
func alternatives(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// known completes a sentence about an unknown name with what there is.
func known(written string, candidates []string) string {
	if s := didYouMean(written, candidates); s != "" {
		return s
	}
	if len(candidates) == 0 || len(candidates) > 12 {
		return ""
	}
	names := slices.Clone(candidates)
	slices.Sort(names)
	names = slices.Compact(names)
	return " There is " + strings.Replace(alternatives(names), " or ", " and ", 1) + "."
}

// quote returns s in quotes, shortened if it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// article returns the word with "a" or "an" before it.
func article(word string) string {
	if strings.ContainsAny(word[:1], "aeio") {
		return "an " + word
	}
	return "a " + word
}

// sentence returns s with a capital letter at its beginning.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// aside turns a sentence that didYouMean returned into a remark inside of
// another sentence.
func aside(suggestion string) string {
	if suggestion == "" {
		return ""
	}
	suggestion = strings.TrimSpace(suggestion)
	return " (" + strings.ToLower(suggestion[:1]) + suggestion[1:] + ")"
}
