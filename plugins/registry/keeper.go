package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/iib-engine/iib/plugins/registry/internal/store"
)

// sweepEvery is how often files are looked for that nothing speaks of. They
// are what a crash leaves behind.
const sweepEvery = time.Hour

// keeper does what a registry has to do by itself: it ends tags that are not
// retained, collects garbage and forgets old records.
type keeper struct {
	store    *store.Store
	rules    *rules
	every    time.Duration
	auditFor time.Duration
	now      func() time.Time

	wake chan struct{}
	end  context.CancelFunc
	done chan struct{}
}

func newKeeper(s *store.Store, r *rules, every, auditFor time.Duration, now func() time.Time) *keeper {
	return &keeper{
		store: s, rules: r, every: every, auditFor: auditFor, now: now,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

func (k *keeper) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.end = cancel
	go k.run(ctx)
}

// stop waits until nothing is under way any more.
func (k *keeper) stop() {
	k.end()
	<-k.done
}

// kick asks for a collection soon.
func (k *keeper) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	collect := time.NewTicker(k.every)
	defer collect.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	k.sweep(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			k.sweep(ctx)
		case <-collect.C:
			k.retain(ctx)
			k.collect(ctx)
		case <-k.wake:
			k.collect(ctx)
		}
	}
}

func (k *keeper) collect(ctx context.Context) {
	done, err := k.store.Collect(ctx)
	switch {
	case err != nil:
		k.complain(ctx, "collect garbage", err)
	case done != store.Collected{}:
		slog.Info("collected garbage", "rows", done.Rows, "manifests", done.Manifests, "blobs", done.Blobs, "bytes", done.Bytes)
	}
}

func (k *keeper) sweep(ctx context.Context) {
	files, err := k.store.Sweep(ctx)
	if err != nil {
		k.complain(ctx, "sweep files", err)
	} else if files > 0 {
		slog.Info("swept files that were left behind", "files", files)
	}
	if _, err := k.store.ForgetAudit(ctx, k.now().Add(-k.auditFor)); err != nil {
		k.complain(ctx, "forget old records", err)
	}
}

// retain ends the tags that their repository's rules do not keep.
func (k *keeper) retain(ctx context.Context) {
	for last := ""; ; {
		names, err := k.store.Repositories(ctx, last, 1000)
		if err != nil {
			k.complain(ctx, "list repositories", err)
			return
		}
		if len(names) == 0 {
			return
		}
		for _, name := range names {
			retention, dryRun, found := k.rules.retention(name)
			if !found {
				continue
			}
			ended, err := k.store.Retain(ctx, name, retention, dryRun)
			if err != nil {
				k.complain(ctx, "retain tags", err)
			}
			if len(ended) > 0 {
				slog.Info("ended tags that are not retained", "repository", name, "tags", ended, "dry_run", dryRun)
			}
		}
		last = names[len(names)-1]
	}
}

// complain logs a failure, unless it is that the registry is being closed.
func (k *keeper) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		slog.Error(what, "err", err)
	}
}
