package main

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

// service speaks Greenwave's decision API, for one policy.
type service struct {
	url string
	// trouble, if set, answers in the service's stead; true means that it did.
	trouble func(w http.ResponseWriter, r *http.Request, subject string) bool

	mu      sync.Mutex
	asked   []map[string]string
	results map[string][]result
}

// result is that of a test case of a build: "PASSED", "FAILED", "ERROR",
// "RUNNING", or "" if there is none.
type result struct{ testcase, outcome string }

const (
	gatingPoint = "operator_index_prod"
	product     = "operators-1"
)

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{results: make(map[string][]result)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1.0/decision", s.decide)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL + "/api/v1.0/"
	return s
}

func (s *service) decide(w http.ResponseWriter, r *http.Request) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		s.fail(w, http.StatusUnsupportedMediaType, "No JSON payload in request")
		return
	}
	var question map[string]string
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
		s.fail(w, http.StatusBadRequest, "The browser (or proxy) sent a request that this server could not understand.")
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, question)
	s.mu.Unlock()
	subject := question["subject_identifier"]
	if s.trouble != nil && s.trouble(w, r, subject) {
		return
	}
	for _, key := range []string{"product_version", "decision_context", "subject_type", "subject_identifier"} {
		if question[key] == "" {
			s.fail(w, http.StatusBadRequest, "Missing required "+strings.ReplaceAll(key, "_", " "))
			return
		}
	}
	if question["decision_context"] != gatingPoint || question["product_version"] != product {
		s.fail(w, http.StatusNotFound, fmt.Sprintf("Found no applicable policies for %s subjects at gating point(s) %s in %s",
			question["subject_type"], question["decision_context"], question["product_version"]))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer(w, subject, s.results[subject])
}

func (s *service) fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func (s *service) answer(w http.ResponseWriter, subject string, results []result) {
	types := map[string]string{
		"PASSED": "test-result-passed", "FAILED": "test-result-failed", "ERROR": "test-result-errored",
		"RUNNING": "test-result-incomplete", "": "test-result-missing",
	}
	satisfied, unsatisfied := []any{}, []any{}
	for i, r := range results {
		requirement := map[string]any{
			"testcase": r.testcase, "type": types[r.outcome], "subject_type": "koji_build", "subject_identifier": subject,
			"scenario": nil, "source": nil, "item": map[string]string{"type": "koji_build", "item": subject},
		}
		if r.outcome != "" {
			requirement["result_id"] = 7000 + i
		}
		if r.outcome == "PASSED" {
			satisfied = append(satisfied, requirement)
		} else {
			unsatisfied = append(unsatisfied, requirement)
		}
	}
	summary := "All required tests passed"
	if len(unsatisfied) > 0 {
		summary = fmt.Sprintf("Of %d required tests, %d failed", len(results), len(unsatisfied))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"policies_satisfied": len(unsatisfied) == 0, "summary": summary, "applicable_policies": []string{"operators"},
		"satisfied_requirements": satisfied, "unsatisfied_requirements": unsatisfied,
	})
}

// questions are those asked so far, by subject.
func (s *service) questions() []map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := slices.Clone(s.asked)
	slices.SortFunc(asked, func(a, b map[string]string) int {
		return strings.Compare(a["subject_identifier"], b["subject_identifier"])
	})
	return asked
}

// asking returns a gate that asks the service, without patience.
func asking(s *service) *gate {
	g := newGate()
	g.URL, g.pause = s.url, time.Millisecond
	g.Queries = []query{{Queue: "default", DecisionContext: gatingPoint, ProductVersion: product}}
	return g
}

// adding is a request to add bundles with these names; they are built as
// <name>-container-v1.0-7.
func adding(names ...string) *sdk.GateRequest {
	var specs []string
	for _, name := range names {
		specs = append(specs, "quay.io/ns/"+name+":v1.0")
	}
	req := sdktest.GateRequest(specs...)
	for i, name := range names {
		req.Images[i].Labels = map[string]string{"com.redhat.component": name + "-container", "version": "v1.0", "release": "7"}
	}
	return req
}

func nvr(name string) string { return name + "-container-v1.0-7" }

// wantError fails unless err has the code and the words.
func wantError(t *testing.T, err error, code sdk.Code, words ...string) {
	t.Helper()
	if sdk.CodeOf(err) != code {
		t.Fatalf("got %v (%s), want code %s", err, sdk.CodeOf(err), code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}
