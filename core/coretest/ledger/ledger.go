// Package ledger finds what was lost and what was done twice. Its book holds
// what clients wanted and were answered, and what the store, a notifier and the
// registry tell of it after everything has ended; none of them is trusted to be
// right, only to agree with the others.
package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Book is everything that is known of a number of requests.
type Book struct {
	Requests []Request
	// Stored are the IDs of all requests in the store.
	Stored []int64
	Tags   []Tag
}

// Request is what a client wanted, and what became of it.
type Request struct {
	// Key is the client's own, which it sends with each repetition.
	Key, Type string
	// IDs are those that the client was answered, without repetitions. One is
	// right.
	IDs []int64
	// Want is the state that the request must end in.
	Want string
	// Reason is why it is in the state that it is in, for those who read findings.
	Reason string
	// States are those that it was in, oldest first.
	States []string
	// Events are the states that the outbox tells of, oldest first.
	Events []string
	// Notices are the states that a notifier was told, by the event's ID.
	Notices map[string]string
	// Edit is what it does to an index; nil if it overwrites none.
	Edit *Edit
	// Result is the digest of the index that the request says it has made; empty
	// if its type says none.
	Result string
}

// Edit is a change of an index.
type Edit struct {
	// Tag is the index that is overwritten.
	Tag string
	// Leaves are the bundles of each package afterwards; none takes it away.
	Leaves map[string][]string
}

// Tag is what became of a tag.
type Tag struct {
	Spec string
	// Owner is the one request that may move the tag, as often as it likes. 0
	// is an index, which each request that edits it moves once.
	Owner int64
	// Digests are what the registry says that the tag was, oldest first. The
	// first was there before.
	Digests []string
	// Moves are those that the engine has recorded, oldest first.
	Moves []Move
	// Before and After are the bundles by package of an index.
	Before, After map[string][]string
	// Between are those after a move, by the digest that it moved to: as many as
	// are known.
	Between map[string]map[string][]string
}

// Move is a tag that the engine has moved.
type Move struct {
	Request  int64
	From, To string
}

// final are the states in which a request has ended.
var final = []string{"complete", "failed"}

// Findings are the entries that do not add up, as sentences: none is right.
func (b *Book) Findings() []string {
	var found findings
	byID := make(map[int64]*Request)
	for i := range b.Requests {
		r := &b.Requests[i]
		found.acceptance(r, byID)
		found.end(r)
	}
	for _, id := range b.Stored {
		if byID[id] == nil {
			found.add("request %d is in the store, and no client was told of it", id)
		}
	}
	for i := range b.Tags {
		found.history(&b.Tags[i])
		found.effects(&b.Tags[i], b.Requests, byID)
	}
	return found
}

type findings []string

func (f *findings) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// acceptance checks that what a client sent became one request.
func (f *findings) acceptance(r *Request, byID map[int64]*Request) {
	switch len(r.IDs) {
	case 0:
		f.add("the submission %s was never accepted: %s", r.Key, r.Reason)
	case 1:
	default:
		f.add("the submission %s was accepted %d times, as the requests %v", r.Key, len(r.IDs), r.IDs)
	}
	for _, id := range r.IDs {
		if other := byID[id]; other != nil {
			f.add("request %d was the answer to the submissions %s and %s", id, other.Key, r.Key)
		}
		byID[id] = r
	}
}

func isFinal(state string) bool { return slices.Contains(final, state) }

// end checks that a request has ended once, and that everybody was told so once.
func (f *findings) end(r *Request) {
	if len(r.IDs) == 0 {
		return
	}
	var notices []string
	for _, id := range slices.Sorted(maps.Keys(r.Notices)) {
		if isFinal(r.Notices[id]) {
			notices = append(notices, r.Notices[id])
		}
	}
	f.once(r, "its history", r.States)
	f.once(r, "the outbox", r.Events)
	if len(notices) != 1 || notices[0] != last(r.States) {
		f.add("%s: a notifier was told of the ends %v, and it is %s", r, notices, last(r.States))
	}
	if state := last(r.States); isFinal(state) && state != r.Want {
		f.add("%s is %s and should be %s: %s", r, state, r.Want, r.Reason)
	}
}

// once checks a row of states: the last is the one end.
func (f *findings) once(r *Request, where string, states []string) {
	var ends []string
	for _, s := range states {
		if isFinal(s) {
			ends = append(ends, s)
		}
	}
	switch {
	case len(ends) == 0:
		f.add("%s: by %s it has not ended: %s", r, where, r.Reason)
	case len(ends) > 1:
		f.add("%s: by %s it has ended %d times: %v", r, where, len(ends), ends)
	case ends[0] != last(states) || ends[0] != last(r.States):
		f.add("%s: by %s it was %s, and it is %s", r, where, ends[0], last(r.States))
	}
}

func last(list []string) string {
	if len(list) == 0 {
		return "unknown"
	}
	return list[len(list)-1]
}

// history checks that each step of a tag has a cause, and each cause its step.
// A move to what the tag already was is no step, though a registry may have it
// in its history. What the tag of a build was before need not be known.
func (f *findings) history(t *Tag) {
	var causes []Move
	for _, m := range t.Moves {
		if m.From != m.To {
			causes = append(causes, m)
		}
	}
	was := ""
	if t.Owner == 0 && len(t.Digests) > 0 {
		was = t.Digests[0]
	}
	for _, digest := range t.Digests[len(t.Digests)-steps(t):] {
		if digest == was {
			continue
		}
		if len(causes) == 0 || causes[0].To != digest || causes[0].From != was && (t.Owner == 0 || causes[0].From != "") {
			f.add("tag %s went from %s to %s, and the next recorded move is %s", t.Spec, orNone(was), orNone(digest), next(causes))
			return
		}
		causes, was = causes[1:], digest
	}
	if len(causes) > 0 {
		f.add("tag %s: the registry knows nothing of %s", t.Spec, next(causes))
	}
}

// steps is how many of the digests came by a move.
func steps(t *Tag) int {
	if t.Owner == 0 {
		return max(0, len(t.Digests)-1)
	}
	return len(t.Digests)
}

func next(causes []Move) string {
	if len(causes) == 0 {
		return "none"
	}
	return fmt.Sprintf("that of request %d, from %s to %s", causes[0].Request, orNone(causes[0].From), orNone(causes[0].To))
}

func orNone(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}

// effects checks that a tag was moved by those who had to, once each, and that
// an index holds the sum of their edits.
func (f *findings) effects(t *Tag, requests []Request, byID map[int64]*Request) {
	moves, torn := make(map[*Request][]Move), false
	catalog := maps.Clone(t.Before)
	if catalog == nil {
		catalog = make(map[string][]string)
	}
	for _, m := range t.Moves {
		r := byID[m.Request]
		if t.Owner != 0 {
			if m.Request != t.Owner {
				f.add("tag %s of request %d was moved by request %d", t.Spec, t.Owner, m.Request)
			}
			continue
		}
		if r == nil || r.Edit == nil || r.Edit.Tag != t.Spec {
			f.add("tag %s was moved by request %d, which does not edit it", t.Spec, m.Request)
			continue
		}
		moves[r] = append(moves[r], m)
		r.Edit.apply(catalog)
		if shown, known := t.Between[m.To]; known && !torn {
			torn = f.catalogs(fmt.Sprintf("index %s after %s moved it to %s", t.Spec, r, m.To), catalog, shown)
		}
	}
	if t.Owner != 0 {
		return
	}
	for i := range requests {
		r := &requests[i]
		if r.Edit == nil || r.Edit.Tag != t.Spec || len(r.IDs) == 0 {
			continue
		}
		made := moves[r]
		switch complete := last(r.States) == "complete"; {
		case complete && len(made) == 0:
			f.add("%s is complete, and has never moved %s: its effect is lost", r, t.Spec)
		case !complete && len(made) > 0:
			f.add("%s is %s, and has moved %s", r, last(r.States), t.Spec)
		case len(made) > 1:
			f.add("%s has moved %s %d times: its effect is doubled", r, t.Spec, len(made))
		case complete && r.Result != "" && made[0].To != r.Result:
			f.add("%s says that it made %s of %s, and it moved it to %s", r, r.Result, t.Spec, made[0].To)
		}
	}
	f.catalogs("index "+t.Spec, catalog, t.After)
}

func (e *Edit) apply(catalog map[string][]string) {
	for name, bundles := range e.Leaves {
		if len(bundles) == 0 {
			delete(catalog, name)
			continue
		}
		catalog[name] = bundles
	}
}

// catalogs compares what an index holds with what the edits make of it.
func (f *findings) catalogs(index string, want, got map[string][]string) (differ bool) {
	names := maps.Clone(want)
	maps.Copy(names, got)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if w, g := sorted(want[name]), sorted(got[name]); !slices.Equal(w, g) {
			f.add("%s has of package %s the bundles %v, and the edits make %v", index, name, g, w)
			differ = true
		}
	}
	return differ
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func (r *Request) String() string {
	return fmt.Sprintf("request %s (%s, submission %s)", strings.Trim(fmt.Sprint(r.IDs), "[]"), r.Type, r.Key)
}

// String is the ledger as it is printed.
func (b *Book) String() string {
	var s strings.Builder
	count := make(map[string]int)
	states, notices, edits := 0, 0, 0
	for i := range b.Requests {
		r := &b.Requests[i]
		count[fmt.Sprintf("%-28s %s", r.Type, last(r.States))]++
		states += len(r.Events)
		notices += len(r.Notices)
		if r.Edit != nil {
			edits++
		}
	}
	moves, points, bundles := 0, 0, 0
	for _, t := range b.Tags {
		moves += len(t.Moves)
		points += steps(&t)
		for _, list := range t.After {
			bundles += len(list)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&s, "%6d  %s\n", count[line], line)
	}
	fmt.Fprintf(&s, "%6d  submissions of which %d edit an index; %d requests in the store\n", len(b.Requests), edits, len(b.Stored))
	fmt.Fprintf(&s, "%6d  states in the outbox, %d of them told to a notifier\n", states, notices)
	fmt.Fprintf(&s, "%6d  steps of %d tags in the registry, %d moves in the engine's record\n", points, len(b.Tags), moves)
	fmt.Fprintf(&s, "%6d  bundles in the indexes\n", bundles)
	found := b.Findings()
	fmt.Fprintf(&s, "%6d  entries that do not add up\n", len(found))
	for _, line := range found {
		fmt.Fprintf(&s, "        %s\n", line)
	}
	return s.String()
}
