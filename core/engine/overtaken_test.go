package engine_test

import (
	"context"
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

func TestAnOvertakenPublicationNamesTheOtherRequest(t *testing.T) {
	const index = "q/index:v4.14"
	publish := func(ctx context.Context, job *sdk.Job, digest string) error {
		_, err := job.Publish(ctx, &sdk.Publication{Image: "build.example.com/iib-build@" + digest, Overwrite: index, Base: "q/index@sha256:old"})
		return err
	}
	w := newWorld(t, func(ctx context.Context, job *sdk.Job) error { return publish(ctx, job, "sha256:first") })
	w.images.Set(index, "sha256:old")
	first := w.submit(`{}`)
	w.Run(t.Context(), first.ID)
	w.wantState(first.ID, core.Complete, "")
	w.lineup.Types[0].Handler = handlerFunc(func(ctx context.Context, job *sdk.Job) error { return publish(ctx, job, "sha256:second") })
	second := w.submit(`{}`)
	w.Run(t.Context(), second.ID)
	w.wantState(second.ID, core.Failed, "was changed by request 1 while this request ran: it was sha256:old and is sha256:first")
}
