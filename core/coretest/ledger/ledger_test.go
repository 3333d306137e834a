package ledger

import (
	"slices"
	"strings"
	"testing"
)

const index = "registry/index:v1"

// clean is a book in which everything adds up: an add, a removal that failed,
// and a request that edits nothing.
func clean() *Book {
	return &Book{
		Stored: []int64{1, 2, 3},
		Requests: []Request{
			{
				Key: "a", Type: "add", IDs: []int64{1}, Want: "complete", Result: "d1",
				States: []string{"in_progress", "in_progress", "complete"}, Events: []string{"in_progress", "in_progress", "complete"},
				Notices: map[string]string{"1": "in_progress", "2": "in_progress", "3": "complete"},
				Edit:    &Edit{Tag: index, Leaves: map[string][]string{"added": {"added.v2", "added.v1"}}},
			},
			{
				Key: "b", Type: "rm", IDs: []int64{2}, Want: "failed",
				States: []string{"in_progress", "failed"}, Events: []string{"in_progress", "failed"},
				Notices: map[string]string{"4": "in_progress", "5": "failed"},
				Edit:    &Edit{Tag: index, Leaves: map[string][]string{"kept": nil}},
			},
			{
				Key: "c", Type: "regenerate-bundle", IDs: []int64{3}, Want: "complete",
				States: []string{"in_progress", "complete"}, Events: []string{"in_progress", "complete"},
				Notices: map[string]string{"6": "in_progress", "7": "complete"},
			},
		},
		Tags: []Tag{
			{
				Spec: index, Digests: []string{"d0", "d1"}, Moves: []Move{{Request: 1, From: "d0", To: "d1"}},
				Before: map[string][]string{"kept": {"kept.v1"}},
				After:  map[string][]string{"kept": {"kept.v1"}, "added": {"added.v1", "added.v2"}},
			},
			{
				Spec: "registry/build:1", Owner: 1, Digests: []string{"x", "d1"},
				Moves: []Move{{Request: 1, From: "", To: "x"}, {Request: 1, From: "x", To: "d1"}, {Request: 1, From: "d1", To: "d1"}},
			},
		},
	}
}

func TestABookThatAddsUp(t *testing.T) {
	if found := clean().Findings(); len(found) > 0 {
		t.Errorf("%q", found)
	}
}

func TestWhatDoesNotAddUpIsFound(t *testing.T) {
	for _, c := range []struct {
		name, finding string
		plant         func(b *Book, add *Request, index *Tag)
	}{
		{"a lost effect", "its effect is lost", func(_ *Book, _ *Request, index *Tag) {
			index.Moves, index.Digests, index.After = nil, index.Digests[:1], index.Before
		}},
		{"a doubled effect", "2 times: its effect is doubled", func(_ *Book, _ *Request, index *Tag) {
			index.Moves = append(index.Moves, Move{Request: 1, From: "d1", To: "d2"})
			index.Digests = append(index.Digests, "d2")
		}},
		{"an effect that is missing in the catalog", "of package added the bundles [added.v1], and the edits make [added.v1 added.v2]", func(_ *Book, _ *Request, index *Tag) {
			index.After["added"] = []string{"added.v1"}
		}},
		{"an effect that is missing on the way", "after request 1 (add, submission a) moved it to d1 has of package added the bundles []", func(_ *Book, _ *Request, index *Tag) {
			index.Between = map[string]map[string][]string{"d1": index.Before}
		}},
		{"a package that nobody added", "of package stray", func(_ *Book, _ *Request, index *Tag) {
			index.After["stray"] = []string{"stray.v1"}
		}},
		{"a package that nobody removed", "of package kept the bundles []", func(_ *Book, _ *Request, index *Tag) {
			delete(index.After, "kept")
		}},
		{"the effect of a failed request", "request 2 (rm, submission b) is failed, and has moved", func(_ *Book, _ *Request, index *Tag) {
			index.Moves = append(index.Moves, Move{Request: 2, From: "d1", To: "d2"})
			index.Digests = append(index.Digests, "d2")
			delete(index.After, "kept")
		}},
		{"a result that is another one's", "says that it made d9", func(_ *Book, add *Request, _ *Tag) { add.Result = "d9" }},
		{"a request that has not ended", "has not ended", func(_ *Book, add *Request, _ *Tag) { add.States = add.States[:2] }},
		{"two ends", "by its history it has ended 2 times", func(_ *Book, add *Request, _ *Tag) {
			add.States = append(add.States, "complete")
		}},
		{"a state after the end", "it was complete, and it is in_progress", func(_ *Book, add *Request, _ *Tag) {
			add.States = append(add.States, "in_progress")
		}},
		{"two events of the end", "by the outbox it has ended 2 times", func(_ *Book, add *Request, _ *Tag) {
			add.Events = append(add.Events, "complete")
		}},
		{"an end without an event", "by the outbox it has not ended", func(_ *Book, add *Request, _ *Tag) { add.Events = add.Events[:1] }},
		{"an event of another end", "by the outbox it was failed", func(_ *Book, add *Request, _ *Tag) { add.Events[2] = "failed" }},
		{"an end that no notifier heard of", "told of the ends []", func(_ *Book, add *Request, _ *Tag) { delete(add.Notices, "3") }},
		{"an end that a notifier heard of as two", "told of the ends [complete complete]", func(_ *Book, add *Request, _ *Tag) { add.Notices["8"] = "complete" }},
		{"the wrong end", "is complete and should be failed", func(_ *Book, add *Request, _ *Tag) { add.Want = "failed" }},
		{"a submission that became two requests", "accepted 2 times", func(b *Book, add *Request, _ *Tag) {
			add.IDs, b.Stored = []int64{1, 4}, append(b.Stored, 4)
		}},
		{"a submission that was never accepted", "never accepted", func(b *Book, _ *Request, _ *Tag) {
			b.Requests = append(b.Requests, Request{Key: "d"})
		}},
		{"one answer to two submissions", "submissions a and c", func(b *Book, _ *Request, _ *Tag) { b.Requests[2].IDs = []int64{1} }},
		{"a request of nobody", "request 9 is in the store", func(b *Book, _ *Request, _ *Tag) { b.Stored = append(b.Stored, 9) }},
		{"a move by a request that edits something else", "moved by request 3, which does not edit it", func(_ *Book, _ *Request, index *Tag) {
			index.Moves = append(index.Moves, Move{Request: 3, From: "d1", To: "d1"})
		}},
		{"a step without a cause", "went from d1 to d0, and the next recorded move is none", func(_ *Book, _ *Request, index *Tag) {
			index.Digests = append(index.Digests, "d0")
		}},
		{"a cause without a step", "the registry knows nothing of that of request 1", func(_ *Book, _ *Request, index *Tag) {
			index.Digests = index.Digests[:1]
		}},
		{"a cause that started elsewhere", "went from d0 to d1", func(_ *Book, _ *Request, index *Tag) { index.Moves[0].From = "d9" }},
		{"a build's tag that another request moved", "of request 1 was moved by request 3", func(b *Book, _ *Request, _ *Tag) {
			b.Tags[1].Moves[1].Request = 3
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := clean()
			c.plant(b, &b.Requests[0], &b.Tags[0])
			found := b.Findings()
			if !slices.ContainsFunc(found, func(line string) bool { return strings.Contains(line, c.finding) }) {
				t.Errorf("want a finding with %q: %q", c.finding, found)
			}
			if printed := b.String(); !strings.Contains(printed, c.finding) {
				t.Errorf("the printed ledger does not tell %q:\n%s", c.finding, printed)
			}
		})
	}
}
