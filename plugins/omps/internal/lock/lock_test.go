package lock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/iib-engine/iib/plugins/omps/internal/lock"
)

func TestANameIsHeldByOne(t *testing.T) {
	var names lock.Names
	unlock, err := names.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := names.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal("another name is free:", err)
	}
	other()
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := names.Lock(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("who has no time left gets %v", err)
	}
	got := make(chan func())
	go func() {
		unlock, err := names.Lock(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		got <- unlock
	}()
	unlock()
	(<-got)()
}

func TestNamesAreForgotten(t *testing.T) {
	var names lock.Names
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 100_000 {
		unlock, err := names.Lock(t.Context(), fmt.Sprint("a stranger's name ", i))
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("%d bytes are still held", grown)
	}
	runtime.KeepAlive(&names)
}
