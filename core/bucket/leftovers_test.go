package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/bucket"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
)

func TestLeftoversOfManyPages(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	// A page has a thousand objects at most.
	const requests, each = 3, 700
	for i := range requests * each {
		s.Store(t, fmt.Sprintf("prod/requests/%d/log/%08d", 9+i/each, 1+i%each), "x")
	}
	if stored := len(s.Keys(t)); stored != requests*each {
		t.Fatalf("the bucket has %d objects", stored)
	}
	found := make(map[int64]int64)
	if err := files.Each(t.Context(), func(f core.Footprint) error { found[f.Request] += f.Bytes; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(found) != requests || found[9] != each || found[10] != each || found[11] != each {
		t.Errorf("footprints %v", found)
	}
	for i := range int64(requests) {
		if err := files.Remove(t.Context(), 9+i); err != nil {
			t.Fatal(err)
		}
	}
	if left := s.Keys(t); len(left) > 0 {
		t.Errorf("%d objects are left", len(left))
	}
}

func TestWhatIsStrangeInABucketIsLeftAlone(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	strange := []string{"other/requests/1/log/00000001", "prod/1", "prod/requests/01/x", "prod/requests/5", "prod/requests/x/log/00000001"}
	for _, key := range strange {
		s.Store(t, key, "x")
	}
	if err := files.Each(t.Context(), func(f core.Footprint) error { t.Errorf("footprint %+v", f); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := files.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if keys := s.Keys(t); len(keys) != len(strange) {
		t.Errorf("left are %v", keys)
	}
}

func TestUploadsThatNeverEndedAreRemoved(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	// The parts cannot even be dropped.
	s.Break(func(r *http.Request) coretest.S3Fault {
		if r.Method == http.MethodDelete {
			return coretest.S3Refused
		}
		return coretest.S3Fine
	})
	content := io.MultiReader(bytes.NewReader(noise(bucket.PartSize+1)), iotest.ErrReader(errors.New("the plugin died")))
	if err := files.Put(t.Context(), 1, "x", content); sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "the plugin died") {
		t.Fatalf("Put: %v", err)
	}
	s.Break(nil)
	for _, want := range []int{1, 0} {
		s.Calls()
		if err := files.Remove(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if calls := s.Calls(); calls[http.MethodDelete] != want {
			t.Errorf("%d uploads were dropped, want %d", calls[http.MethodDelete], want)
		}
	}
}

func TestAListingThatIsCutShortIsAnError(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	s.Store(t, "prod/requests/1/log/00000001", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := files.Each(ctx, func(core.Footprint) error { return nil }); !errors.Is(err, context.Canceled) || sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("Each: %v", err)
	}
	if err := files.Remove(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove: %v", err)
	}
	s.Break(func(*http.Request) coretest.S3Fault { return coretest.S3Truncation })
	if err := files.Each(t.Context(), func(core.Footprint) error { return nil }); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("Each: %v", err)
	}
	if err := files.Remove(t.Context(), 1); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("Remove: %v", err)
	}
}
