package store

import (
	"database/sql"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/iib-engine/iib/core"
)

// listing is a copy in memory of what the list filters look at, column by
// column, about 30 bytes a request. No set of indexes gives exact totals and
// any page for every combination of filters; a pass over a few small columns
// does, in some milliseconds for a million requests.
//
// The events are its journal: before it answers it applies what has changed
// since, so it is never behind the database. It is filled when it is first
// asked.
type listing struct {
	mu sync.RWMutex
	// sequence is the event up to which the columns are right, -1 if they have
	// never been filled.
	sequence int64

	// Columns, in ascending order of ids.
	ids    []int64
	states []uint8
	types  []uint16
	users  []uint32
	froms  []uint32
	// images are hashes: most values occur once, so numbering them would keep
	// them all. A collision needs luck, as the seed is the process's own.
	images []uint64

	typeNames, userNames, fromNames names
	seed                            maphash.Seed
}

// names numbers the values of a column.
type names struct {
	numbers map[string]uint32
	values  []string
}

func (n *names) number(value string) uint32 {
	number, ok := n.numbers[value]
	if !ok {
		if n.numbers == nil {
			n.numbers = make(map[string]uint32)
		}
		number = uint32(len(n.values))
		n.values = append(n.values, value)
		n.numbers[value] = number
	}
	return number
}

// listed is a request as the listing has it.
type listed struct {
	id                    int64
	state                 core.State
	typ, user             string
	fromIndex, indexImage string
}

const listedColumns = `r.id, r.state, r.type, r.submitter, r.from_index, r.index_image FROM requests r `

func scanListed(rows *sql.Rows) (listed, error) {
	var l listed
	err := rows.Scan(&l.id, &l.state, &l.typ, &l.user, &l.fromIndex, &l.indexImage)
	return l, err
}

func newListing() *listing { return &listing{sequence: -1, seed: maphash.MakeSeed()} }

func stateNumber(s core.State) uint8 { return uint8(slices.Index(core.States, s)) }

// current reports whether nothing has changed since the columns were right, as
// a transaction sees it.
func (l *listing) current(t *tx) (sequence int64, current bool, err error) {
	err = t.row(`SELECT value FROM counters WHERE name = 'event'`).Scan(&sequence)
	return sequence, sequence == l.sequence, err
}

// refresh makes the columns what a transaction sees.
func (l *listing) refresh(t *tx) error {
	sequence, current, err := l.current(t)
	if err != nil || current {
		return err
	}
	apply := func(rows *sql.Rows) error {
		r, err := scanListed(rows)
		if err == nil {
			l.set(r)
		}
		return err
	}
	if l.sequence < 0 {
		err = t.each(apply, `SELECT `+listedColumns+`ORDER BY r.id`)
	} else {
		err = t.each(apply, `SELECT `+listedColumns+`WHERE r.id IN
			(SELECT e.request FROM events e WHERE e.sequence > $1 AND e.request IS NOT NULL)`, l.sequence)
	}
	if err == nil {
		// After an error the next refresh sets the same rows again.
		l.sequence = sequence
	}
	return err
}

// set adds or replaces a request. New ones nearly always come last.
func (l *listing) set(r listed) {
	i := len(l.ids)
	if i > 0 && l.ids[i-1] >= r.id {
		i, _ = slices.BinarySearch(l.ids, r.id)
	}
	if i == len(l.ids) || l.ids[i] != r.id {
		l.ids = slices.Insert(l.ids, i, r.id)
		l.states = slices.Insert(l.states, i, 0)
		l.types = slices.Insert(l.types, i, 0)
		l.users = slices.Insert(l.users, i, 0)
		l.froms = slices.Insert(l.froms, i, 0)
		l.images = slices.Insert(l.images, i, 0)
	}
	l.states[i] = stateNumber(r.state)
	l.types[i] = uint16(l.typeNames.number(r.typ))
	l.users[i] = l.userNames.number(r.user)
	l.froms[i] = l.fromNames.number(r.fromIndex)
	l.images[i] = maphash.String(l.seed, r.indexImage)
}
