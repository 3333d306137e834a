// Command greenwave is a gate that asks Greenwave, which decides by test
// results, whether the bundles of a request may be released.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() {
	serve.Plugin(sdk.Plugin{
		Name: "greenwave",
		Doc:  "Asks Greenwave whether the bundles of a request satisfy the policies of its queue.",
		Gate: newGate(),
	})
}

type gate struct {
	URL      string        `hcl:"url" doc:"Greenwave's API, such as \"https://greenwave.example.com/api/v1.0/\"."`
	Timeout  time.Duration `hcl:"timeout,optional" doc:"How long to wait for one answer."`
	Attempts int           `hcl:"attempts,optional" doc:"How often a question is asked that gets no answer."`
	Parallel int           `hcl:"parallel,optional" doc:"How many questions of one request are asked at once."`
	Queries  []query       `hcl:"query,block" doc:"What is asked for the requests of a queue. Requests of a queue without such a block are not gated."`
	clienttls.Files

	client *http.Client
	// pause is the wait after the first attempt; it doubles with each.
	pause time.Duration
}

// query is what Greenwave is asked about each bundle.
type query struct {
	Queue           string `hcl:"queue,label" doc:"The queue's name, or \"*\" for every queue without a block."`
	DecisionContext string `hcl:"decision_context" doc:"The gating point, as Greenwave's policies name it."`
	ProductVersion  string `hcl:"product_version" doc:"The product, as Greenwave's policies name it."`
	SubjectType     string `hcl:"subject_type,optional" doc:"What a bundle is to Greenwave. Empty is \"koji_build\", the only one."`
}

// everyQueue is the label of the query for queues that have none.
const everyQueue = "*"

// subjectType is that of a build named by component, version and release.
const subjectType = "koji_build"

func newGate() *gate {
	return &gate{Timeout: 30 * time.Second, Attempts: 3, Parallel: 8, pause: 500 * time.Millisecond}
}

var (
	_ sdk.Gate      = (*gate)(nil)
	_ sdk.Validator = (*gate)(nil)
	_ sdk.Starter   = (*gate)(nil)
	_ sdk.Closer    = (*gate)(nil)
)

// Validate checks the settings.
func (g *gate) Validate() error {
	faults := []error{g.Faults()}
	blame := func(field, format string, args ...any) {
		faults = append(faults, sdk.FieldErrorf(field, format, args...))
	}
	u, err := url.Parse(g.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		blame("url", "url: %q is no http or https URL", g.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		blame("url", "url: it must have neither a user, nor a query, nor a fragment")
	}
	if g.Timeout <= 0 {
		blame("timeout", "timeout: %s is not positive", g.Timeout)
	}
	if g.Attempts < 1 || g.Attempts > 10 {
		blame("attempts", "attempts: %d is not from 1 to 10", g.Attempts)
	}
	if g.Parallel < 1 || g.Parallel > 100 {
		blame("parallel", "parallel: %d is not from 1 to 100", g.Parallel)
	}
	if len(g.Queries) == 0 {
		blame("query", "There must be a query block. Without one, no request would be gated.")
	}
	seen := make(map[string]bool)
	for i, q := range g.Queries {
		if seen[q.Queue] {
			blame(at(i, "queue"), "queue %q has two query blocks", q.Queue)
		}
		seen[q.Queue] = true
		if q.DecisionContext == "" {
			blame(at(i, "decision_context"), "decision_context: it is empty")
		}
		if q.ProductVersion == "" {
			blame(at(i, "product_version"), "product_version: it is empty")
		}
		if q.SubjectType != "" && q.SubjectType != subjectType {
			blame(at(i, "subject_type"), "subject_type: %q is not %q, which is what a bundle's labels name", q.SubjectType, subjectType)
		}
	}
	return errors.Join(faults...)
}

// Start reads the certificates.
func (g *gate) Start(context.Context, sdk.Host) error {
	config, err := g.Config()
	if err != nil {
		return err
	}
	g.URL = strings.TrimSuffix(g.URL, "/")
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: g.Parallel, IdleConnTimeout: time.Minute,
	}
	g.client = &http.Client{
		Transport: transport,
		// What is posted does not survive a redirection.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Close gives the connections back.
func (g *gate) Close() error {
	if g.client != nil {
		g.client.CloseIdleConnections()
	}
	return nil
}

// Check asks about every bundle of the request.
func (g *gate) Check(ctx context.Context, req *sdk.GateRequest) (sdk.Verdict, error) {
	q := g.query(req.Queue)
	if q == nil {
		slog.WarnContext(ctx, "request is not gated: its queue has no query block", "request", req.ID, "queue", req.Queue)
		return sdk.Allow, nil
	}
	subjects, err := subjectsOf(req.Images)
	if err != nil {
		return sdk.Verdict{}, err
	}
	answers, err := g.askAll(ctx, q, subjects)
	if err != nil {
		return sdk.Verdict{}, err
	}
	return verdict(ctx, req.ID, q, answers)
}

// query returns the block for a queue, nil if there is none.
func (g *gate) query(queue string) *query {
	var every *query
	for i := range g.Queries {
		switch q := &g.Queries[i]; q.Queue {
		case queue:
			return q
		case everyQueue:
			every = q
		}
	}
	return every
}
