package store

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/poll"
)

// schemas makes empty schemas in one database, which is quicker than databases.
func schemas(t testing.TB, p *coretest.Postgres) func(t testing.TB) (address string) {
	t.Helper()
	database := p.Database()
	var count atomic.Int64
	return func(t testing.TB) string {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		schema := fmt.Sprintf("s%d", count.Add(1))
		if _, err := conn.Exec(t.Context(), `CREATE SCHEMA `+schema); err != nil {
			t.Fatal(err)
		}
		return database + "?search_path=" + schema
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	schema := schemas(t, coretest.StartPostgres(t))
	coretest.Store(t, func(t *testing.T) core.Store {
		s, err := Open(t.Context(), schema(t), Options{Keys: testKeys})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// TestPostgresCrash ends the server in the middle of writes, some times, and
// starts it again under a store that stays.
func TestPostgresCrash(t *testing.T) {
	t.Parallel()
	server := coretest.StartPostgres(t)
	s, err := Open(t.Context(), server.Database(), Options{Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	var mu sync.Mutex
	created, ended := make(map[int64]bool), make(map[int64]bool)
	stop := make(chan struct{})
	// insist repeats a write whose outcome is unknown.
	insist := func(write func() error) error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			err := write()
			if sdk.CodeOf(err) != sdk.Unavailable {
				return err
			}
			<-tick.C
		}
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				batch := &core.NewBatch{
					IdempotencyKey: fmt.Sprint(w, "-", i),
					Requests:       []core.NewRequest{{Type: "add", Secrets: map[string]sdk.Secret{"token": "t"}}, {Type: "rm"}},
				}
				var requests []*core.Request
				err := insist(func() (err error) {
					requests, _, err = s.Create(t.Context(), batch)
					return err
				})
				if err != nil {
					t.Errorf("Create: %v", err)
					return
				}
				for _, r := range requests {
					err := insist(func() error {
						_, err := s.Patch(t.Context(), r.ID, &core.Change{State: core.Complete, Reason: "done"})
						return err
					})
					if err != nil {
						t.Errorf("Patch: %v", err)
					}
					mu.Lock()
					created[r.ID], ended[r.ID] = true, true
					mu.Unlock()
				}
			}
		})
	}
	confirmed := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ended)
	}
	more := func() {
		t.Helper()
		goal := confirmed() + 100
		poll.Until(t, "so many writes are confirmed", func() bool { return confirmed() >= goal || t.Failed() })
	}
	for range 3 {
		more()
		server.Kill()
		server.Start()
	}
	more()
	close(stop)
	wg.Wait()
	checkConfirmed(t, s, created, ended)
	checkWhole(t, s)
	_, total, err := s.List(t.Context(), core.Filter{State: core.Complete}, core.Page{})
	if err != nil || total != int64(len(ended)) {
		t.Errorf("%d requests are complete, error %v; %d were confirmed", total, err, len(ended))
	}
}

// TestPostgresStall has a process stop between taking an event's number and the
// commit, while it holds the lock that all need.
func TestPostgresStall(t *testing.T) {
	t.Parallel()
	address := coretest.StartPostgres(t).Database()
	stalled, err := Open(t.Context(), address+"?idle_in_transaction_session_timeout=200ms", Options{Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	other, err := Open(t.Context(), address, Options{Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	first := create(t, other, core.NewRequest{})

	holding, proceed := make(chan struct{}), make(chan struct{})
	outcome := make(chan error)
	go func() {
		outcome <- stalled.write(t.Context(), func(t *tx) error {
			t.notes = append(t.notes, note{kind: core.BatchEvent, time: t.now, batch: first.Batch, state: core.Complete})
			err := t.flush()
			t.notes = nil
			close(holding)
			<-proceed
			return err
		})
	}()
	<-holding
	create(t, other, core.NewRequest{})
	close(proceed)
	if err := stalled.fault(<-outcome, "stall"); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("the stalled write: %v (%s)", err, sdk.CodeOf(err))
	}
	create(t, stalled, core.NewRequest{})
	checkWhole(t, other)
}
