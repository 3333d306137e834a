package api

import (
	"testing"
	"time"
)

func TestTheLimitLetsAMinutesWorthPass(t *testing.T) {
	var l limiter
	now := time.Now()
	for i := range 60 {
		if _, ok := l.take("jane", 1, 60, now); !ok {
			t.Fatalf("submission %d is refused", i)
		}
	}
	wait, ok := l.take("jane", 1, 60, now)
	if ok || wait != time.Second {
		t.Errorf("one too many: %v, wait %v", ok, wait)
	}
	if _, ok := l.take("joe", 1, 60, now); !ok {
		t.Error("another user is refused")
	}
	if _, ok := l.take("jane", 1, 60, now.Add(wait)); !ok {
		t.Error("it is refused after the wait that was asked for")
	}
	l.charge("joe", 100, 60, now)
	if wait, ok := l.take("joe", 1, 60, now); ok || wait < 40*time.Second {
		t.Errorf("after a large batch: %v, wait %v", ok, wait)
	}
	l.take("joe", 1, 60, now.Add(time.Hour))
	if len(l.users) != 1 {
		t.Errorf("%d users are remembered", len(l.users))
	}
}
