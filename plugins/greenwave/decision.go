package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/iib-engine/iib/sdk"
)

// maxAnswer bounds what is read of an answer. A decision lists every result
// that it rests on; a thousand of them take about a quarter of this.
const maxAnswer = 4 << 20

// maxPause bounds the wait between two attempts, whatever Greenwave asks for.
const maxPause = 10 * time.Second

// answer is what came of asking about one bundle.
type answer struct {
	subject  subject
	decision decision
	// err tells why there is no decision.
	err error
}

// decision is Greenwave's answer, as far as a gate needs it.
type decision struct {
	// Satisfied is nil in an answer that is none.
	Satisfied    *bool         `json:"policies_satisfied"`
	Summary      string        `json:"summary"`
	Requirements []requirement `json:"unsatisfied_requirements"`
}

// requirement is something that a policy demands and that is not there.
type requirement struct {
	// Type says what is wrong: "test-result-missing", "test-result-failed",
	// "missing-gating-yaml" and others.
	Type     string  `json:"type"`
	Testcase string  `json:"testcase"`
	Scenario *string `json:"scenario"`
	// Details and Error explain the types that have no test case.
	Details string `json:"details"`
	Error   string `json:"error"`
}

// askAll asks about all subjects, so many at once as is allowed, and returns
// the answers in the subjects' order. An error means that ctx has ended.
func (g *gate) askAll(ctx context.Context, q *query, subjects []subject) ([]answer, error) {
	answers := make([]answer, len(subjects))
	slots := make(chan struct{}, g.Parallel)
	var wg sync.WaitGroup
	for i, s := range subjects {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			answers[i].subject = s
			answers[i].decision, answers[i].err = g.ask(ctx, q, s)
		})
	}
	wg.Wait()
	return answers, ctx.Err()
}

// ask asks until there is an answer or the attempts are used up.
func (g *gate) ask(ctx context.Context, q *query, s subject) (decision, error) {
	body, err := json.Marshal(map[string]string{
		"decision_context":   q.DecisionContext,
		"product_version":    q.ProductVersion,
		"subject_type":       subjectType,
		"subject_identifier": s.nvr,
	})
	if err != nil {
		return decision{}, err
	}
	pause := g.pause
	for attempt := 1; ; attempt++ {
		d, wait, err := g.post(ctx, body)
		if sdk.CodeOf(err) != sdk.Unavailable || attempt == g.Attempts || ctx.Err() != nil {
			return d, err
		}
		slog.WarnContext(ctx, "Greenwave is asked again", "image", s.image.String(), "attempt", attempt, "err", err)
		select {
		case <-ctx.Done():
			return decision{}, err
		case <-time.After(min(max(pause, wait), maxPause)):
		}
		pause *= 2
	}
}

// post asks once. wait is how long Greenwave wants to be left alone.
func (g *gate) post(ctx context.Context, body []byte) (d decision, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, g.Timeout, fmt.Errorf("no answer within %s", g.Timeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/decision", bytes.NewReader(body))
	if err != nil {
		return d, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	resp, err := g.client.Do(r)
	if err != nil {
		return d, 0, sdk.Errorf(sdk.Unavailable, "Greenwave is not reached: %w", reason(ctx, err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return d, 0, sdk.Errorf(sdk.Unavailable, "Greenwave's answer breaks off: %w", reason(ctx, err))
	case resp.StatusCode != http.StatusOK:
		return d, retryAfter(resp), refusal(resp, data)
	case len(data) > maxAnswer:
		return d, 0, sdk.Errorf(sdk.Unavailable, "Greenwave's answer is larger than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, 0, sdk.Errorf(sdk.Unavailable, "Greenwave's answer is not the JSON of a decision: it starts with %q", excerpt(data))
	}
	if d.Satisfied == nil {
		return d, 0, sdk.Errorf(sdk.Unavailable, "Greenwave's answer does not say whether the policies are satisfied: it lacks policies_satisfied")
	}
	return d, 0, nil
}

// reason prefers what is known of the end of ctx to how the connection put it.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// refusal is the error of an answer that is not a decision by its status.
func refusal(resp *http.Response, data []byte) error {
	says := fmt.Sprintf("Greenwave answered %s", resp.Status)
	if message := messageOf(resp, data); message != "" {
		says += ": " + message
	}
	switch status := resp.StatusCode; {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return sdk.Errorf(sdk.Unavailable, "%s", says)
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return sdk.Errorf(sdk.Internal, "%s. The engine's administrator has to let the gate in", says)
	case status >= 400:
		return sdk.Errorf(sdk.Invalid, "%s", says)
	}
	return sdk.Errorf(sdk.Internal, "%s where a decision was expected. The engine's administrator has to correct the gate's url", says)
}

// messageOf returns what an error's body says: its message, or itself.
func messageOf(resp *http.Response, data []byte) string {
	var body struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(data, &body); err == nil {
		return excerpt([]byte(body.Message))
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" {
		return ""
	}
	return excerpt(data)
}

// excerpt returns the start of a text that a stranger wrote, on one line.
func excerpt(data []byte) string {
	const most = 500
	cut := len(data) > most
	if cut {
		data = data[:most]
	}
	text := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(data), ""), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if cut {
		text += " ..."
	}
	return text
}

// retryAfter returns the seconds that an answer asks to wait, 0 for none.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, int(maxPause/time.Second))) * time.Second
}
