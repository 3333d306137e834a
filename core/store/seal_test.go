package store

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

var (
	oldKey = Key{ID: "2025", Bytes: bytes.Repeat([]byte{1}, 32)}
	newKey = Key{ID: "2026", Bytes: bytes.Repeat([]byte{2}, 32)}
)

func ring(t *testing.T, keys ...Key) keyring {
	t.Helper()
	r, err := newKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSeal(t *testing.T) {
	secrets := map[string]sdk.Secret{"token": "canary-token", "bytes": "\x00\xff"}
	grants := []sdk.Grant{{Scope: "registry.test/ns", Username: "u", Password: "canary-password"}}
	seal := func(t *testing.T, r keyring) []byte {
		t.Helper()
		sealed, err := r.seal(7, secrets, grants)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}

	t.Run("opens to what was sealed", func(t *testing.T) {
		r := ring(t, newKey)
		gotSecrets, gotGrants, err := r.open(7, seal(t, r))
		if err != nil || !maps.Equal(gotSecrets, secrets) || !slices.Equal(gotGrants, grants) {
			t.Errorf("open gives other secrets, error %v", err)
		}
	})

	t.Run("hides everything, and is another each time", func(t *testing.T) {
		r := ring(t, newKey)
		a, b := seal(t, r), seal(t, r)
		if bytes.Equal(a, b) {
			t.Error("the same secrets were sealed to the same bytes")
		}
		for _, part := range []string{"canary", "token", "registry.test"} {
			if bytes.Contains(a, []byte(part)) {
				t.Errorf("%q shows", part)
			}
		}
	})

	t.Run("a rotation opens the old and seals with the new", func(t *testing.T) {
		old := seal(t, ring(t, oldKey))
		both := ring(t, newKey, oldKey)
		if _, _, err := both.open(7, old); err != nil {
			t.Errorf("open what the old key sealed: %v", err)
		}
		if _, _, err := ring(t, newKey).open(7, seal(t, both)); err != nil {
			t.Errorf("open what the new key sealed: %v", err)
		}
		_, _, err := ring(t, newKey).open(7, old)
		if sdk.CodeOf(err) != sdk.Internal || !strings.Contains(err.Error(), `key "2025", which is not configured`) {
			t.Errorf("open without the old key: %v", err)
		}
	})

	t.Run("does not open for another request, or with one bit changed, or cut off", func(t *testing.T) {
		r := ring(t, newKey, Key{ID: "2027", Bytes: oldKey.Bytes})
		sealed := seal(t, r)
		if _, _, err := r.open(8, sealed); err == nil {
			t.Error("opened for another request")
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			if _, _, err := r.open(7, changed); err == nil {
				t.Errorf("opened with byte %d changed", i)
			}
			if _, _, err := r.open(7, sealed[:i]); err == nil {
				t.Errorf("opened when cut off at %d", i)
			}
		}
	})

	t.Run("needs a key", func(t *testing.T) {
		if _, err := ring(t).seal(7, secrets, nil); sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("seal: %v", err)
		}
	})

	t.Run("refuses keys that are none", func(t *testing.T) {
		for what, keys := range map[string][]Key{
			"short":       {{ID: "a", Bytes: make([]byte, 16)}},
			"without ID":  {{Bytes: make([]byte, 32)}},
			"of long ID":  {{ID: strings.Repeat("a", 256), Bytes: make([]byte, 32)}},
			"of equal ID": {newKey, newKey},
		} {
			if _, err := newKeyring(keys); sdk.CodeOf(err) != sdk.Invalid {
				t.Errorf("keys %s: %v", what, err)
			}
		}
	})
}

func TestSecretsAtRest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "iib.db"), Options{})
	secretive := core.NewRequest{
		Secrets: map[string]sdk.Secret{"token": "canary-token"},
		Grants:  []sdk.Grant{{Scope: "registry.test", Password: "canary-password"}},
	}
	stored := func() (n int) {
		t.Helper()
		err := s.read(t.Context(), func(t *tx) error { return t.row(`SELECT count(*) FROM secrets`).Scan(&n) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	search := func(what []byte) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("files %v, error %v", files, err)
		}
		for _, file := range files {
			if data, err := os.ReadFile(file); err != nil || bytes.Contains(data, what) {
				t.Errorf("%s has %q, error %v", file, what, err)
			}
		}
	}

	ends := map[string]func(id int64) error{
		"a change": func(id int64) error {
			_, claim, err := s.Claim(t.Context(), id, "w", time.Minute)
			if err != nil {
				return err
			}
			_, err = s.Change(t.Context(), claim, &core.Change{State: core.Complete, Reason: "done"})
			return err
		},
		"a patch": func(id int64) error {
			_, err := s.Patch(t.Context(), id, &core.Change{State: core.Failed, Reason: "no"})
			return err
		},
		"a cancellation": func(id int64) error {
			_, err := s.Cancel(t.Context(), id, "stop")
			return err
		},
	}
	for what, end := range ends {
		t.Run("are wiped by "+what, func(t *testing.T) {
			r := create(t, s, secretive)
			if n := stored(); n != 1 {
				t.Fatalf("%d sealed values are stored", n)
			}
			search([]byte("canary"))
			var sealed []byte
			err := s.read(t.Context(), func(t *tx) error {
				return t.row(`SELECT sealed FROM secrets WHERE request = $1`, r.ID).Scan(&sealed)
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := end(r.ID); err != nil {
				t.Fatal(err)
			}
			if n := stored(); n != 0 {
				t.Errorf("%d sealed values are left", n)
			}
			// A checkpoint empties the write-ahead log; in the file itself the
			// bytes were overwritten.
			checkpoint(t, s)
			search(sealed)
		})
	}

	t.Run("are refused without a key, and nothing is stored", func(t *testing.T) {
		keyless := open(t, filepath.Join(t.TempDir(), "iib.db"), Options{Keys: []Key{}})
		secretive.Type = "add"
		_, _, err := keyless.Create(t.Context(), &core.NewBatch{Requests: []core.NewRequest{secretive}})
		if sdk.CodeOf(err) != sdk.Internal {
			t.Errorf("Create: %v", err)
		}
		if _, total, err := keyless.List(t.Context(), core.Filter{}, core.Page{}); total != 0 || err != nil {
			t.Errorf("List finds %d, error %v", total, err)
		}
	})
}

// checkpoint moves the write-ahead log into the database file and cuts it off.
func checkpoint(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.pools[0].ExecContext(t.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
}
