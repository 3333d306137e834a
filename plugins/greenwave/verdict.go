package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// maxReason bounds a denial or an error: it travels as an error's message to
// the handler, and those have at most 32 KiB.
const maxReason = 24 << 10

// verdict makes one of all answers. A bundle that was refused denies the
// request, whatever became of the others; without such a bundle, one that got
// no decision leaves the request undecided.
func verdict(ctx context.Context, request int64, q *query, answers []answer) (sdk.Verdict, error) {
	var refused, undecided []string
	code := sdk.Unavailable
	for _, a := range answers {
		switch {
		case a.err != nil:
			undecided = append(undecided, fmt.Sprintf("%s: %s.", a.subject, strings.TrimSuffix(a.err.Error(), ".")))
			if c := sdk.CodeOf(a.err); c != sdk.Unavailable && code != sdk.Internal {
				code = c
			}
		case !*a.decision.Satisfied:
			refused = append(refused, fmt.Sprintf("%s: %s.", a.subject, strings.TrimSuffix(a.decision.reason(), ".")))
		}
	}
	for _, text := range append(refused, undecided...) {
		slog.InfoContext(ctx, "not satisfied", "request", request, "queue", q.Queue, "answer", text)
	}
	asked := fmt.Sprintf("(decision context %q, product version %q, subject type %q)", q.DecisionContext, q.ProductVersion, subjectType)
	switch {
	case len(refused) > 0:
		reason := fmt.Sprintf("Greenwave's policies are not satisfied for %s %s. %s ",
			count(len(refused), len(answers)), asked, bounded(refused))
		if len(undecided) > 0 {
			reason += fmt.Sprintf("About %s there is no decision. ", count(len(undecided), len(answers)))
		}
		return sdk.Deny("%s", reason+"Have the missing and failed tests pass or waived, and submit the request again."), nil
	case len(undecided) > 0:
		return sdk.Verdict{}, sdk.Errorf(code, "There is no decision about %s %s. %s",
			count(len(undecided), len(answers)), asked, bounded(undecided))
	}
	return sdk.Allow, nil
}

func (s subject) String() string { return fmt.Sprintf("%s (%s)", s.nvr, s.image) }

func count(n, of int) string {
	if of == 1 {
		return "the bundle"
	}
	return fmt.Sprintf("%d of %d bundles", n, of)
}

// bounded joins texts as far as there is room.
func bounded(texts []string) string {
	var b strings.Builder
	for i, text := range texts {
		if b.Len()+len(text) > maxReason {
			fmt.Fprintf(&b, " %d more are in the log of the gate.", len(texts)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(text)
	}
	return b.String()
}

// reason tells every requirement that is not satisfied.
func (d *decision) reason() string {
	if len(d.Requirements) == 0 {
		if d.Summary != "" {
			return excerpt([]byte(d.Summary))
		}
		return "Greenwave does not say which requirement is not satisfied"
	}
	texts := make([]string, 0, len(d.Requirements))
	for _, r := range d.Requirements {
		texts = append(texts, r.String())
	}
	return strings.Join(texts, ", ")
}

func (r requirement) String() string {
	test := excerpt([]byte(r.Testcase))
	if r.Scenario != nil && *r.Scenario != "" {
		test += fmt.Sprintf(" (scenario %s)", excerpt([]byte(*r.Scenario)))
	}
	kind := excerpt([]byte(r.Type))
	if state, ok := resultStates[kind]; ok {
		kind = state
	}
	why := excerpt([]byte(or(r.Details, r.Error)))
	if why != "" {
		why = "(" + why + ")"
	}
	words := slices.DeleteFunc([]string{test, kind, why}, func(word string) bool { return word == "" })
	return or(strings.Join(words, " "), "a requirement without a name")
}

// resultStates are Greenwave's names of what is wrong with a test's result.
var resultStates = map[string]string{
	"test-result-missing":    "has no result",
	"test-result-failed":     "failed",
	"test-result-errored":    "ended in an error",
	"test-result-incomplete": "is not finished",
}

func or(text, other string) string {
	if text != "" {
		return text
	}
	return other
}
