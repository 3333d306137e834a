package store_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/core/store"
)

var keys = []store.Key{{ID: "k1", Bytes: bytes.Repeat([]byte{7}, 32)}}

func openFile(t testing.TB, file string, options store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite://"+file, options)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	return s
}

func TestSQLite(t *testing.T) {
	coretest.Store(t, func(t *testing.T) core.Store {
		return openFile(t, filepath.Join(t.TempDir(), "iib.db"), store.Options{Keys: keys})
	})
}
