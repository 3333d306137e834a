package store

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	"github.com/iib-engine/iib/core"
)

// selection is the set of a listing's rows that match a filter, a bit for each.
type selection []uint64

func newSelection(rows int) selection {
	s := make(selection, (rows+63)/64)
	for i := range s {
		s[i] = ^uint64(0)
	}
	if rest := rows % 64; rest != 0 {
		s[len(s)-1] = 1<<rest - 1
	}
	return s
}

// keep drops the rows in which a column has another value.
func keep[T comparable](s selection, column []T, value T) {
	for w, word := range s {
		if word == 0 {
			continue
		}
		var same uint64
		for i, v := range column[w*64 : min(len(column), w*64+64)] {
			if v == value {
				same |= 1 << i
			}
		}
		s[w] &= same
	}
}

// keepAny drops the rows in which a column has a value that is not wanted.
func keepAny[T uint16 | uint32](s selection, column []T, wanted []bool) {
	for w, word := range s {
		if word == 0 {
			continue
		}
		var same uint64
		for i, v := range column[w*64 : min(len(column), w*64+64)] {
			if wanted[v] {
				same |= 1 << i
			}
		}
		s[w] &= same
	}
}

func (s selection) count() int64 {
	total := 0
	for _, word := range s {
		total += bits.OnesCount64(word)
	}
	return int64(total)
}

// page calls yield with so many of the rows below end, highest first, after it
// has passed over some.
func (s selection) page(end, skip, size int, yield func(row int)) {
	for w := (end - 1) >> 6; w >= 0 && size > 0; w-- {
		word := s[w]
		if above := (w+1)*64 - end; above > 0 {
			word &= ^uint64(0) >> above
		}
		if n := bits.OnesCount64(word); n <= skip {
			skip -= n
			continue
		}
		for word != 0 && size > 0 {
			top := 63 - bits.LeadingZeros64(word)
			word &^= 1 << top
			if skip > 0 {
				skip--
				continue
			}
			yield(w*64 + top)
			size--
		}
	}
}

// find returns the IDs of a page, newest first, and how many requests match.
func (l *listing) find(f core.Filter, p window) (ids []int64, total int64) {
	s, ok := l.match(f)
	if !ok {
		return nil, 0
	}
	end := len(l.ids)
	if p.before > 0 {
		end, _ = slices.BinarySearch(l.ids, p.before)
	}
	s.page(end, p.skip, p.size, func(row int) { ids = append(ids, l.ids[row]) })
	return ids, s.count()
}

// match returns the rows that a filter chooses, whatever it says of batches,
// and false if a value occurs nowhere.
func (l *listing) match(f core.Filter) (selection, bool) {
	s := newSelection(len(l.ids))
	if f.State != "" {
		keep(s, l.states, stateNumber(f.State))
	}
	if f.Type != "" {
		number, ok := l.typeNames.numbers[text(f.Type)]
		if !ok {
			return nil, false
		}
		keep(s, l.types, uint16(number))
	}
	if f.Type == "" && len(f.Types) > 0 {
		wanted := make([]bool, len(l.typeNames.values))
		all := true
		for number, value := range l.typeNames.values {
			wanted[number] = slices.Contains(f.Types, value)
			all = all && wanted[number]
		}
		if !all {
			keepAny(s, l.types, wanted)
		}
	}
	if f.User != "" {
		number, ok := l.userNames.numbers[text(f.User)]
		if !ok {
			return nil, false
		}
		keep(s, l.users, number)
	}
	if f.FromIndex != "" {
		number, ok := l.fromNames.numbers[text(f.FromIndex)]
		if !ok {
			return nil, false
		}
		keep(s, l.froms, number)
	}
	if f.FromIndexPrefix != "" {
		wanted := make([]bool, len(l.fromNames.values))
		for number, value := range l.fromNames.values {
			wanted[number] = strings.HasPrefix(value, text(f.FromIndexPrefix))
		}
		keepAny(s, l.froms, wanted)
	}
	if f.IndexImage != "" {
		keep(s, l.images, maphash.String(l.seed, text(f.IndexImage)))
	}
	return s, true
}
