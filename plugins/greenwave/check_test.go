package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
)

func TestEveryBundleIsAskedAbout(t *testing.T) {
	s := newService(t)
	s.results[nvr("etcd")] = []result{{"dist.sanity", "PASSED"}}
	req := adding("etcd", "vault", "etcd")
	got, err := sdktest.Gate(t, asking(s)).Check(t.Context(), req)
	if err != nil || !got.Allowed {
		t.Fatalf("got %+v, %v", got, err)
	}
	question := func(name string) map[string]string {
		return map[string]string{
			"decision_context": gatingPoint, "product_version": product,
			"subject_type": "koji_build", "subject_identifier": nvr(name),
		}
	}
	if diff := cmp.Diff([]map[string]string{question("etcd"), question("vault")}, s.questions()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestADenialTellsEveryRequirementOfEveryBundle(t *testing.T) {
	s := newService(t)
	s.results[nvr("etcd")] = []result{{"dist.sanity", "PASSED"}, {"dist.abi", "FAILED"}, {"cvp.scan", ""}}
	s.results[nvr("vault")] = []result{{"dist.sanity", "RUNNING"}, {"dist.abi", "ERROR"}}
	s.results[nvr("consul")] = []result{{"dist.sanity", "PASSED"}}
	req := adding("etcd", "consul", "vault")
	got, err := sdktest.Gate(t, asking(s)).Check(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	want := sdk.Deny(`Greenwave's policies are not satisfied for 2 of 3 bundles (decision context "operator_index_prod", product version "operators-1", subject type "koji_build"). `+
		"etcd-container-v1.0-7 (%s): dist.abi failed, cvp.scan has no result. "+
		"vault-container-v1.0-7 (%s): dist.sanity is not finished, dist.abi ended in an error. "+
		"Have the missing and failed tests pass or waived, and submit the request again.", req.Images[0], req.Images[2])
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestRequirementsOfOtherKindsAreTold(t *testing.T) {
	s := newService(t)
	body := ""
	s.trouble = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		_, _ = w.Write([]byte(body))
		return true
	}
	g := sdktest.Gate(t, asking(s))
	for _, c := range []struct{ name, requirements, want string }{
		{"a gating file that is missing", `[{"type": "missing-gating-yaml", "subject_identifier": "x", "details": "no gating.yaml in the repository"}]`,
			"missing-gating-yaml (no gating.yaml in the repository)"},
		{"a gating file that could not be fetched", `[{"type": "failed-fetch-gating-yaml", "error": "504 of the forge"}]`, "failed-fetch-gating-yaml (504 of the forge)"},
		{"a scenario", `[{"type": "test-result-failed", "testcase": "t", "scenario": "arm64"}]`, "t (scenario arm64) failed"},
		{"a type of its own", `[{"type": "blacklisted", "testcase": "t"}]`, "t blacklisted"},
		{"nothing that names it", `[{}]`, "a requirement without a name"},
		{"line breaks and control characters", `[{"type": "test-result-failed", "testcase": "a\n\u001b[31mb"}]`, "a [31mb failed"},
		{"no requirement but a summary", `[]`, "1 of 1 required tests failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body = fmt.Sprintf(`{"policies_satisfied": false, "summary": "1 of 1 required tests failed", "unsatisfied_requirements": %s}`, c.requirements)
			got, err := g.Check(t.Context(), adding("etcd"))
			if err != nil || got.Allowed || !strings.Contains(got.Reason, ": "+c.want+". Have ") || !strings.Contains(got.Reason, "not satisfied for the bundle (") {
				t.Errorf("got %+v, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestADenialFitsIntoAnError(t *testing.T) {
	s := newService(t)
	var names []string
	for i := range 250 {
		name := fmt.Sprintf("operator-%03d", i)
		names = append(names, name)
		s.results[nvr(name)] = []result{{"dist.sanity", "FAILED"}}
	}
	got, err := sdktest.Gate(t, asking(s)).Check(t.Context(), adding(names...))
	if err != nil || got.Allowed {
		t.Fatalf("got %+v, %v", got, err)
	}
	if n := len(got.Reason); n > 30<<10 || n < 20<<10 {
		t.Errorf("the reason has %d bytes", n)
	}
	if !strings.Contains(got.Reason, "250 of 250 bundles") || !strings.Contains(got.Reason, " more are in the log of the gate.") || !strings.HasSuffix(got.Reason, "submit the request again.") {
		t.Errorf("got %s ... %s", got.Reason[:200], got.Reason[len(got.Reason)-200:])
	}
}

func TestTheQueueDecidesWhatIsAsked(t *testing.T) {
	s := newService(t)
	s.trouble = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		s.answer(w, "", nil)
		return true
	}
	g := asking(s)
	g.Queries = append(g.Queries, query{Queue: "stage", DecisionContext: "operator_index_stage", ProductVersion: "operators-2"})
	for _, c := range []struct{ every, queue, context string }{
		{"", "default", gatingPoint},
		{"", "stage", "operator_index_stage"},
		{"", "other", ""},
		{"*", "stage", "operator_index_stage"},
		{"*", "other", "operator_index_dev"},
	} {
		t.Run(c.queue+c.every, func(t *testing.T) {
			with := asking(s)
			with.Queries = g.Queries
			if c.every != "" {
				with.Queries = append([]query{{Queue: "*", DecisionContext: "operator_index_dev", ProductVersion: "p"}}, g.Queries...)
			}
			s.asked = nil
			req := adding("etcd")
			req.Queue = c.queue
			got, err := sdktest.Gate(t, with).Check(t.Context(), req)
			if err != nil || !got.Allowed {
				t.Fatalf("got %+v, %v", got, err)
			}
			var contexts []string
			for _, q := range s.questions() {
				contexts = append(contexts, q["decision_context"])
			}
			if strings.Join(contexts, " ") != c.context {
				t.Errorf("asked with the contexts %q, want %q", contexts, c.context)
			}
		})
	}
}

func TestMissingLabelsAreNamedAndNobodyIsAsked(t *testing.T) {
	s := newService(t)
	req := adding("etcd", "vault", "consul")
	delete(req.Images[0].Labels, "release")
	req.Images[2].Labels = map[string]string{"version": "v1.0"}
	_, err := sdktest.Gate(t, asking(s)).Check(t.Context(), req)
	wantError(t, err, sdk.Invalid,
		"by the labels com.redhat.component, version and release of its image",
		fmt.Sprintf("Bundle %s lacks the label release.", req.Images[0]),
		fmt.Sprintf("Bundle %s lacks the labels com.redhat.component and release.", req.Images[2]))
	if strings.Contains(err.Error(), "vault") {
		t.Errorf("a bundle with all labels is blamed: %v", err)
	}
	if n := len(s.questions()); n != 0 {
		t.Errorf("%d questions were asked", n)
	}
}

func TestARequestWithoutBundlesPasses(t *testing.T) {
	got, err := sdktest.Gate(t, asking(newService(t))).Check(t.Context(), sdktest.GateRequest())
	if err != nil || !got.Allowed {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestQuestionsAreAskedAtOnceUpToTheLimit(t *testing.T) {
	s := newService(t)
	const limit = 3
	var mu sync.Mutex
	inside, most := 0, 0
	full := make(chan struct{})
	s.trouble = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		mu.Lock()
		inside++
		most = max(most, inside)
		if inside == limit && most == limit {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		select {
		case <-full: // as many as may be are here at once
		case <-r.Context().Done():
		}
		mu.Lock()
		inside--
		mu.Unlock()
		return false
	}
	g := asking(s)
	g.Parallel = limit
	got, err := sdktest.Gate(t, g).Check(t.Context(), adding("a", "b", "c", "d", "e", "f", "g"))
	if err != nil || !got.Allowed {
		t.Fatalf("got %+v, %v", got, err)
	}
	if most != limit || len(s.questions()) != 7 {
		t.Errorf("%d at once and %d in all, want %d and 7", most, len(s.questions()), limit)
	}
}
