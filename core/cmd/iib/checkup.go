package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// level tells how bad a finding is.
type level string

const (
	levelOK   level = "ok"
	levelNote level = "note"
	// levelWarning is what the engine works with, though not as well as it could.
	levelWarning level = "warning"
	levelWrong   level = "wrong"
	// levelUnchecked is what could not be looked at, because something else is
	// wrong.
	levelUnchecked level = "not checked"
)

// finding is what a check has to say: one line.
type finding struct {
	Level  level  `json:"level"`
	Check  string `json:"check"`
	Detail string `json:"detail"`
	// Advice is what to do, empty where nothing has to be done.
	Advice string `json:"advice,omitempty"`
}

func okay(detail string, args ...any) finding {
	return finding{Level: levelOK, Detail: fmt.Sprintf(detail, args...)}
}

func note(detail string, args ...any) finding {
	return finding{Level: levelNote, Detail: fmt.Sprintf(detail, args...)}
}

func warning(advice, detail string, args ...any) finding {
	return finding{Level: levelWarning, Detail: fmt.Sprintf(detail, args...), Advice: advice}
}

func wrong(advice, detail string, args ...any) finding {
	return finding{Level: levelWrong, Detail: fmt.Sprintf(detail, args...), Advice: advice}
}

func unchecked(detail string, args ...any) finding {
	return finding{Level: levelUnchecked, Detail: fmt.Sprintf(detail, args...)}
}

// check looks at one part.
type check struct {
	name string
	// limit bounds run, whose context ends then.
	limit time.Duration
	// run returns findings without the name of the check.
	run func(ctx context.Context) []finding
}

// stubborn is how long a check that is over its limit may take to end. One that
// does not heed its context is left alone then, and ends with the program.
const stubborn = 3 * time.Second

// runChecks runs all checks at once and returns what they found in their order.
func runChecks(ctx context.Context, checks []check) []finding {
	found := make([][]finding, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { found[i] = c.findings(ctx) })
	}
	wg.Wait()
	return slices.Concat(found...)
}

func (c check) findings(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	answer := make(chan []finding, 1)
	go func() { answer <- c.run(ctx) }()
	over := time.NewTimer(c.limit + stubborn)
	defer over.Stop()
	var found []finding
	select {
	case found = <-answer:
	case <-over.C:
		found = []finding{wrong("run it again; if it stays so, look at what "+c.name+" depends on", "no answer within %s", c.limit)}
	}
	for i := range found {
		found[i].Check = cmp.Or(found[i].Check, c.name)
	}
	return found
}

// report is what all checks have found.
type report struct {
	// Healthy is false if anything is wrong.
	Healthy bool      `json:"healthy"`
	Checks  []finding `json:"checks"`
}

func newReport(found []finding) report {
	bad := func(f finding) bool { return f.Level == levelWrong }
	return report{Healthy: !slices.ContainsFunc(found, bad), Checks: found}
}

// count returns how many findings have a level.
func (r report) count(l level) int {
	n := 0
	for _, f := range r.Checks {
		if f.Level == l {
			n++
		}
	}
	return n
}

// writeText writes a line for each finding.
func (r report) writeText(w io.Writer) error {
	width := 0
	for _, f := range r.Checks {
		width = max(width, len(f.Check))
	}
	for _, f := range r.Checks {
		line := fmt.Sprintf("%-11s  %-*s  %s", f.Level, width, f.Check, oneLine(f.Detail))
		if f.Advice != "" {
			line += " → " + oneLine(f.Advice)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func (r report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}
