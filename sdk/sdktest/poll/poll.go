// Package poll waits in tests for what nobody tells of.
package poll

import (
	"testing"
	"time"
)

const (
	// patience is when a condition that does not come true is a failure.
	patience = time.Minute
	interval = 5 * time.Millisecond
)

// Until asks for a condition until it is true. The test fails, in the words of
// what, if that takes longer than a minute.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for deadline := time.After(patience); !condition(); {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("within %s it did not come true that %s", patience, what)
		}
	}
}
