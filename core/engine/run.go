package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// The causes for which a run's context ends before its handler does.
var (
	errClaimLost = errors.New("another worker took the request over")
	errCancelled = errors.New("the request was cancelled")
	errTimeout   = errors.New("the request passed its deadline")
	errStopping  = errors.New("the worker stops")
)

// What ends a run before its handler is called.
var (
	errNoHandler = errors.New("no plugin handles the request here")
	errCrowded   = errors.New("others run beside the request")
)

// handBackTime is how long a worker that stops tries to hand its requests back.
// Those that it cannot, because the database is away, are taken over like those
// of a dead one.
const handBackTime = 10 * time.Second

// crowdedPause is how soon a suspect is looked at again.
const crowdedPause = time.Second

// A request beside which a worker died may be innocent. From suspectTakeOvers on
// it runs alone in its process, so that its neighbours are not suspected too; with
// maxTakeOvers it counts as what kills the workers, unless others have seen what
// it has done: that would remain without anybody to be told of it.
const (
	suspectTakeOvers = 3
	maxTakeOvers     = 10
)

// run is one attempt at a request.
type run struct {
	engine   *Engine
	request  *core.Request
	claim    core.Claim
	settings *Settings
	lineup   core.Lineup
	handler  core.Handler
	session  core.ImageSession
	secrets  map[string]sdk.Secret
	log      *requestLog
	dir      string
	// outcome is the reason that the handler wants for its complete request.
	outcome string
	// trace is the span of the run, for calls of the plugin that do not know it.
	trace string
	// unknownTold is set when the organization is known to be unknown.
	unknownTold atomic.Bool
	cancel      context.CancelCauseFunc
}

// Run makes one attempt at the request of a queue that is next, if there is one.
// It returns when the attempt is over; what came of it is in the store. When ctx
// ends, the request is handed back for another worker, without counting the
// attempt.
func (e *Engine) Run(ctx context.Context, queue string) {
	request, claim, err := e.Store.ClaimNext(ctx, queue, e.Worker, e.Lease)
	if err != nil {
		if sdk.CodeOf(err) != sdk.NotFound && ctx.Err() == nil {
			e.Logger.Warn("claim the next request", "queue", queue, "err", err)
		}
		return
	}
	id := request.ID
	ctx = e.Tracer.Continue(ctx, request.Trace)
	settings := e.settings.Load()
	lineup, release := e.Roster.Acquire()
	defer release()

	// The store is written to also after ctx has ended, for a while.
	keep, drop := context.WithCancel(context.WithoutCancel(ctx))
	defer drop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(handBackTime, drop) })()
	running, cancel := context.WithCancelCause(keep)
	defer cancel(nil)
	r := &run{engine: e, request: request, claim: claim, settings: settings, lineup: lineup, cancel: cancel}
	e.mu.Lock()
	e.runs[id] = r
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.runs, id)
		e.mu.Unlock()
	}()
	defer context.AfterFunc(ctx, func() { cancel(errStopping) })()

	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		r.renew(running)
	}()
	traced, ended := e.Tracer.Span(running, "run "+request.Type, slog.Int64("iib.request.id", id),
		slog.Int64("iib.attempt", int64(request.Attempt)), slog.String("iib.queue", request.Queue), slog.String("iib.worker", e.Worker))
	r.trace = e.Tracer.Carry(traced)
	timer := time.AfterFunc(settings.Queue(request.Queue).Timeout, func() { cancel(errTimeout) })

	err = r.handle(traced)
	timer.Stop()
	if cause := context.Cause(running); cause != nil {
		err = cause
	}
	r.end(keep, err)
	ended(err)
	cancel(nil)
	<-renewed
	r.clean()
	if settings.Queue(request.Queue).Serial != SerialNone {
		e.advance()
	}
	e.changed.wake()
}

// apart keeps others out of the process while a suspect runs. It reports false if
// others run: who waited for their end with a claim would be suspected of killing
// them, too.
func (r *run) apart() (leave func(), ok bool) {
	if r.request.TakeOvers < suspectTakeOvers {
		r.engine.slots.settle()
		return func() {}, true
	}
	return r.engine.slots.seclude()
}

// renew keeps the claim until ctx ends, and ends the run when it is lost: at
// the latest when the lease has run out by this process's own clock.
func (r *run) renew(ctx context.Context) {
	lease := r.engine.Lease
	over := time.AfterFunc(lease, func() { r.cancel(errClaimLost) })
	defer over.Stop()
	ticker := time.NewTicker(lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		began := time.Now()
		call, stop := context.WithTimeout(ctx, lease/2)
		err := r.engine.Store.Renew(call, r.claim, lease)
		stop()
		switch {
		case err == nil:
			over.Reset(lease - time.Since(began))
		case sdk.CodeOf(err) == sdk.Conflict && r.cancelled(ctx):
			r.cancel(errCancelled)
			return
		case sdk.CodeOf(err) == sdk.Conflict:
			r.cancel(errClaimLost)
			return
		}
	}
}

// cancelled tells a cancelled request from one that another worker took over.
func (r *run) cancelled(ctx context.Context) bool {
	request, err := r.engine.Store.Request(ctx, r.request.ID)
	return err == nil && request.CancelReason != ""
}

// handle prepares the run's surroundings and calls the handler.
func (r *run) handle(ctx context.Context) error {
	e := r.engine
	var ok bool
	r.handler, ok = r.lineup.Handler(r.request.Type)
	if !ok {
		return errNoHandler
	}
	given, err := r.givenUp(ctx)
	if err != nil {
		return err
	}
	if !given {
		leave, ok := r.apart()
		if !ok {
			return errCrowded
		}
		defer leave()
	}
	secrets, grants, err := e.Store.Secrets(ctx, r.claim)
	if err != nil {
		return err
	}
	r.secrets = secrets
	r.session = e.Images.Session(grants)
	if r.log, err = openLog(ctx, e.Logs, r.request.ID); err != nil {
		return err
	}
	if given {
		return sdk.Errorf(sdk.Internal, "the worker died %d times while it ran this request, so it is not run again: "+
			"look into the log of worker and system for the reason, such as a lack of memory, remove it, and submit the request again",
			r.request.TakeOvers)
	}
	if r.request.TakeOvers >= suspectTakeOvers {
		r.log.line(sdk.LevelWarn, fmt.Sprintf("the worker died %d times while it ran this request, which runs alone therefore", r.request.TakeOvers))
	}
	r.log.line(sdk.LevelInfo, fmt.Sprintf("attempt %d on worker %s with plugin %s", r.request.Attempt, e.Worker, r.handler.Plugin))
	r.dir = filepath.Join(e.WorkDir, fmt.Sprintf("request-%d-%d", r.request.ID, r.claim.Epoch))
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return sdk.Errorf(sdk.Unavailable, "make the workspace of request %d: %v", r.request.ID, err)
	}
	job := sdk.NewJob(r.request.Request, r.dir, e.CacheDir, &jobHost{r})
	ctx, ended := r.span(ctx, "handler "+r.handler.Plugin)
	err = r.handler.Handle(ctx, job)
	ended(err)
	if err != nil {
		return err
	}
	r.outcome = job.Outcome()
	return nil
}

// givenUp reports whether the request is not to be run again. One that has moved
// an index gets twice the chances: what is left to do for it is little.
func (r *run) givenUp(ctx context.Context) (bool, error) {
	if r.request.TakeOvers < maxTakeOvers {
		return false, nil
	}
	moved, err := r.engine.Store.MovedTags(ctx, r.request.ID)
	if err != nil {
		return false, err
	}
	builds := r.engine.Images.BuildRepository() + ":"
	shown := slices.ContainsFunc(moved, func(spec string) bool { return !strings.HasPrefix(spec, builds) })
	return !shown || r.request.TakeOvers >= 2*maxTakeOvers, nil
}

// span begins a span below that of the run.
func (r *run) span(ctx context.Context, name string, attributes ...slog.Attr) (context.Context, func(error)) {
	return r.engine.Tracer.Span(r.engine.Tracer.Continue(ctx, r.trace), name, attributes...)
}

// end writes the attempt's outcome, as long as the claim is held.
func (r *run) end(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errClaimLost), errors.Is(err, errCancelled):
		r.lastLine(sdk.LevelWarn, err.Error())
		return
	case errors.Is(err, errStopping):
		r.lastLine(sdk.LevelWarn, "the worker stops; the request is handed back")
		r.write(ctx, func(ctx context.Context) error {
			return r.engine.Store.Release(ctx, r.claim, 0, true)
		})
		return
	case err == nil:
		reason := r.outcome
		if reason == "" {
			reason = "The request is complete."
		}
		r.finish(ctx, core.Complete, reason)
		return
	case errors.Is(err, errNoHandler):
		r.leave(ctx)
		return
	case errors.Is(err, errCrowded):
		reason := fmt.Sprintf("%d workers died while they ran this request, so it waits until it can run alone in one.", r.request.TakeOvers)
		r.giveBack(ctx, reason, crowdedPause, true)
		return
	case errors.Is(err, errTimeout):
		queue := r.request.Queue
		r.finish(ctx, core.Failed, fmt.Sprintf("The request did not end within %s, the limit of queue %q. Submit it again, or ask for a higher limit.",
			r.settings.Queue(queue).Timeout, queue))
		return
	}
	if sdk.CodeOf(err) == sdk.Unavailable {
		if attempts := r.settings.Queue(r.request.Queue).Attempts; r.counted() < attempts {
			r.retry(ctx, err, attempts)
			return
		}
	}
	r.finish(ctx, core.Failed, sentence(err.Error()))
}

// lastLine ends the log. It comes before the outcome is written, so that who
// learns of the end can read the whole log.
func (r *run) lastLine(level sdk.Level, text string) {
	r.log.line(level, text)
	r.log.close()
}

// counted is how many attempts count against the limit of the queue: those that
// ended with their worker say nothing about the request.
func (r *run) counted() int { return r.request.Attempt - r.request.TakeOvers }

// retry hands the request back after a transient fault, to be tried again
// after a pause that doubles with each attempt.
func (r *run) retry(ctx context.Context, err error, attempts int) {
	delay := min(time.Second<<(r.counted()-1), time.Minute)
	reason := fmt.Sprintf("Attempt %d of %d ended by a transient fault and is repeated in %s: %s",
		r.counted(), attempts, delay, sentence(err.Error()))
	r.lastLine(sdk.LevelWarn, reason)
	r.giveBack(ctx, reason, delay, false)
}

// leave gives the request back for a worker that has a plugin for it, without
// counting the attempt: whoever accepted it had one, and while programs or
// configurations are replaced not all do. The pause grows with the number of its
// runs. That there is no such worker cannot be known here, so it never fails.
func (r *run) leave(ctx context.Context) {
	r.engine.Logger.Warn("no plugin handles a request here", "request", r.request.ID, "type", r.request.Type)
	// A state that is told again is no new one. It says the same on every worker.
	reason := fmt.Sprintf("The worker that took the request has no plugin for requests of type %q and leaves it to another one. "+
		"If there is none, enable the plugin in iib.hcl, or cancel the request.", r.request.Type)
	r.giveBack(ctx, reason, min(time.Second<<min(r.claim.Epoch, 6), time.Minute), true)
}

// giveBack lets the request be claimed again after a pause.
func (r *run) giveBack(ctx context.Context, reason string, pause time.Duration, uncounted bool) {
	r.write(ctx, func(ctx context.Context) error {
		_, err := r.engine.Store.Change(ctx, r.claim, &core.Change{State: core.InProgress, Reason: reason})
		return err
	})
	r.write(ctx, func(ctx context.Context) error {
		return r.engine.Store.Release(ctx, r.claim, pause, uncounted)
	})
}

func (r *run) finish(ctx context.Context, state core.State, reason string) {
	level := sdk.LevelInfo
	if state == core.Failed {
		level = sdk.LevelError
	}
	r.lastLine(level, reason)
	r.write(ctx, func(ctx context.Context) error {
		_, err := r.engine.Store.Change(ctx, r.claim, &core.Change{State: state, Reason: reason})
		return err
	})
	if r.engine.Ended != nil {
		r.engine.Ended(r.request, state)
	}
	r.engine.Logger.Info("request ended", "request", r.request.ID, "type", r.request.Type, "state", string(state))
}

// write repeats a write to the store until it is done or the claim is lost:
// an outcome must not get lost because the database was away for a moment.
func (r *run) write(ctx context.Context, do func(context.Context) error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := do(ctx)
		if err == nil {
			return
		}
		if sdk.CodeOf(err) != sdk.Unavailable {
			if sdk.CodeOf(err) != sdk.Conflict {
				r.engine.Logger.Error("write a request's outcome", "request", r.request.ID, "err", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (r *run) clean() {
	r.log.close()
	if r.dir == "" {
		return
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.engine.Logger.Warn("remove a workspace", "request", r.request.ID, "err", err)
	}
}

// sentence makes an error's text presentable as the reason of a state.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return "Unknown error."
	}
	// A pull spec or a file name at the beginning stays as it is written.
	if word, _, _ := strings.Cut(text, " "); !strings.ContainsAny(word, "/.@_") {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}
