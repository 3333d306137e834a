package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

// writerAddress names the database that this test program, started by itself,
// is to write to until it is killed.
const writerAddress = "IIB_TEST_STORE_WRITER"

func TestMain(m *testing.M) {
	if address := os.Getenv(writerAddress); address != "" {
		if err := writeForEver(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

var testKeys = []Key{{ID: "k", Bytes: bytes.Repeat([]byte{3}, 32)}}

// writeForEver takes requests through their lives, and prints a line for each
// write that the store has confirmed.
func writeForEver(address string) error {
	ctx := context.Background()
	s, err := Open(ctx, address, Options{Keys: testKeys})
	if err != nil {
		return err
	}
	worker := strconv.Itoa(os.Getpid())
	errs := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				if err := writeLife(ctx, s, worker, w, i); err != nil {
					errs <- err
				}
			}
		}()
	}
	return <-errs
}

func writeLife(ctx context.Context, s *Store, worker string, w, i int) error {
	n := core.NewRequest{
		Type: "add", Queue: "default", Reason: "accepted", Images: []string{fmt.Sprintf("registry.test/%s:%d-%d", worker, w, i)},
		Secrets: map[string]sdk.Secret{"token": "t"},
	}
	requests, _, err := s.Create(ctx, &core.NewBatch{User: worker, Requests: []core.NewRequest{n, n, n}})
	if err != nil {
		return err
	}
	for _, r := range requests {
		fmt.Printf("created %d\n", r.ID)
	}
	for _, r := range requests {
		_, claim, err := s.Claim(ctx, r.ID, worker, time.Minute)
		if err != nil {
			return err
		}
		if _, err := s.Change(ctx, claim, &core.Change{State: core.InProgress, Reason: "working", Arches: []string{"amd64"}}); err != nil {
			return err
		}
		if _, err := s.Change(ctx, claim, &core.Change{State: core.Complete, Reason: "done"}); err != nil {
			return err
		}
		fmt.Printf("ended %d\n", r.ID)
	}
	return nil
}

func TestKillWriters(t *testing.T) {
	t.Parallel()
	t.Run("on SQLite", func(t *testing.T) {
		testKillWriters(t, "sqlite://"+filepath.Join(t.TempDir(), "iib.db"))
	})
	t.Run("on PostgreSQL", func(t *testing.T) {
		testKillWriters(t, coretest.StartPostgres(t).Database())
	})
}

// testKillWriters kills processes in the middle of their writes, and looks for
// all that they had been told was stored.
func testKillWriters(t *testing.T, address string) {
	created, ended := make(map[int64]bool), make(map[int64]bool)
	for round := range 3 {
		// Two processes write at once.
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 2 {
			wg.Go(func() {
				err := writeAndKill(t.Context(), address, 40+30*round, func(what string, id int64) {
					mu.Lock()
					defer mu.Unlock()
					map[string]map[int64]bool{"created": created, "ended": ended}[what][id] = true
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		s, err := Open(t.Context(), address, Options{Keys: testKeys})
		if err != nil {
			t.Fatal(err)
		}
		checkConfirmed(t, s, created, ended)
		checkWhole(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(ended) == 0 {
		t.Error("no request ended before its process was killed")
	}
}

// checkConfirmed fails unless requests are there, and have ended.
func checkConfirmed(t *testing.T, s *Store, created, ended map[int64]bool) {
	t.Helper()
	for id := range created {
		if _, err := s.Request(t.Context(), id); err != nil {
			t.Errorf("request %d was confirmed: %v", id, err)
		}
	}
	for id := range ended {
		if r, err := s.Request(t.Context(), id); err != nil || r.State().State != core.Complete {
			t.Errorf("the end of request %d was confirmed: %+v, %v", id, r, err)
		}
	}
}

// writeAndKill runs a writer and kills it after so many lines, all of which it
// hands to confirmed.
func writeAndKill(ctx context.Context, address string, lines int, confirmed func(what string, id int64)) error {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), writerAddress+"="+address)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		var what string
		var id int64
		if _, err := fmt.Sscan(scanner.Text(), &what, &id); err != nil {
			// The last line may have been cut off by the kill.
			break
		}
		confirmed(what, id)
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				return err
			}
		}
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		return fmt.Errorf("the writer ended by itself: %v %s", err, stderr.String())
	}
	return nil
}

// checkWhole fails unless every request is there with all that belongs to it,
// and nothing else is.
func checkWhole(t *testing.T, s *Store) {
	t.Helper()
	err := s.read(t.Context(), func(tx *tx) error {
		if s.dialect == sqliteDialect {
			var result string
			if err := tx.row(`PRAGMA integrity_check`).Scan(&result); err != nil || result != "ok" {
				t.Errorf("integrity_check: %s, %v", result, err)
			}
		}
		for what, query := range map[string]string{
			"requests without parameters": `SELECT count(*) FROM requests r WHERE NOT EXISTS (SELECT 1 FROM submissions p WHERE p.request = r.id)`,
			"requests without a run":      `SELECT count(*) FROM requests r WHERE NOT EXISTS (SELECT 1 FROM runs c WHERE c.request = r.id)`,
			"histories with holes": `SELECT count(*) FROM requests r WHERE r.position <>
				(SELECT count(*) FROM history h WHERE h.request = r.id AND h.position BETWEEN 1 AND r.position)`,
			"revisions with holes": `SELECT count(*) FROM requests r WHERE r.revision <>
				(SELECT count(*) FROM revisions v WHERE v.request = r.id AND v.revision BETWEEN 1 AND r.revision)`,
			"states that differ from the newest entry": `SELECT count(*) FROM requests r JOIN history h ON h.request = r.id AND h.position = r.position
				WHERE h.state <> r.state`,
			"entries without exactly one event": `SELECT count(*) FROM history h WHERE 1 <>
				(SELECT count(*) FROM events e WHERE e.request = h.request AND e.position = h.position AND e.kind = 'request')`,
			"ended requests that are open": `SELECT count(*) FROM requests r JOIN runs c ON c.request = r.id
				WHERE (r.state = 'in_progress') <> (CASE WHEN c.open THEN 1 ELSE 0 END = 1)`,
			"secrets of ended requests": `SELECT count(*) FROM secrets s JOIN requests r ON r.id = s.request WHERE r.state <> 'in_progress'`,
			"batches that count wrongly": `SELECT count(*) FROM batches b WHERE b.open <>
				(SELECT count(*) FROM requests r WHERE r.batch = b.id AND r.state = 'in_progress')`,
			// Batch 0 is the one of events that no request causes.
			"batches without requests": `SELECT count(*) FROM batches b WHERE b.id > 0 AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.batch = b.id)`,
			"batches without their events": `SELECT count(*) FROM batches b WHERE b.id > 0 AND
				(SELECT count(*) FROM events e WHERE e.batch = b.id AND e.kind = 'batch') <> CASE WHEN b.open > 0 THEN 1 ELSE 2 END`,
			"events above the counter": `SELECT count(*) FROM events WHERE sequence > (SELECT value FROM counters WHERE name = 'event')`,
		} {
			var n int
			if err := tx.row(query).Scan(&n); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if n > 0 {
				t.Errorf("there are %d %s", n, what)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
