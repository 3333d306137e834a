package main

import (
	"iter"
	"testing"
	"time"
)

// patience is when a condition that does not come true is a failure.
const patience = 2 * time.Minute

// poll yields until the caller's condition is true and it breaks out. The test
// fails when that takes longer than patience.
func poll(t testing.TB) iter.Seq[int] {
	return func(yield func(int) bool) {
		t.Helper()
		deadline := time.Now().Add(patience)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; time.Now().Before(deadline); i++ {
			if !yield(i) {
				return
			}
			<-ticker.C
		}
		t.Fatalf("the condition did not come true within %s", patience)
	}
}
