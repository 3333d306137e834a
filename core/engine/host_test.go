package engine_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/sdk"
)

func TestAPluginReadsAndForgetsWhatARequestLeft(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error {
		job.Logf(ctx, "a line of the handler")
		return nil
	})
	host := &engine.Host{Engine: w.Engine}
	id := w.submit(`{}`).ID
	if _, err := host.Log(t.Context(), id); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("the log of a request that has not run: %v", err)
	}
	if err := w.files.Put(t.Context(), id, "report", strings.NewReader("[]")); err != nil {
		t.Fatal(err)
	}
	if err := host.Forget(t.Context(), id); sdk.CodeOf(err) != sdk.Conflict {
		t.Errorf("Forget while it is in progress: %v", err)
	}
	w.Run(t.Context(), id)
	log, err := host.Log(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if text, err := io.ReadAll(log); err != nil || !strings.Contains(string(text), "a line of the handler") {
		t.Errorf("%q, %v", text, err)
	}
	if err := host.Forget(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Log(t.Context(), id); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("the log is still there: %v", err)
	}
	if _, err := host.Artifact(t.Context(), id, "report"); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("the artifact is still there: %v", err)
	}
	if _, err := host.Request(t.Context(), id); err != nil {
		t.Errorf("the request itself: %v", err)
	}
	if err := host.Forget(t.Context(), id+1); sdk.CodeOf(err) != sdk.NotFound {
		t.Errorf("Forget of no request: %v", err)
	}
}

// strictHandler refuses every submission.
type strictHandler struct{ handlerFunc }

func (strictHandler) Accept(context.Context, *sdk.Submission) error {
	err := sdk.Errorf(sdk.Invalid, "no")
	err.Reason = "BadComposeType"
	return err
}

func TestAPluginLearnsWhyItsSubmissionWasRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.lineup.Types[0].Handler = strictHandler{}
	_, err := (&engine.Host{Engine: w.Engine}).Submit(t.Context(), "", "test", json.RawMessage(`{}`))
	if sdk.CodeOf(err) != sdk.Invalid || sdk.ReasonOf(err) != "BadComposeType" || err.Error() != "no" {
		t.Errorf("%v, reason %q", err, sdk.ReasonOf(err))
	}
}
