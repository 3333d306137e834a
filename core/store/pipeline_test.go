package store

import (
	"strings"
	"testing"

	"github.com/iib-engine/iib/core/coretest"
)

func TestWhatIsKeptBackFailsItsTransaction(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, coretest.StartPostgres(t).Database())
	const stored = `INSERT INTO images (spec) VALUES ($1)`
	const wrong = `INSERT INTO images (spec, mood) VALUES ($1, $1)`
	for name, op := range map[string]func(t *tx) error{
		"nothing follows": func(t *tx) error {
			return t.exec(wrong, "a")
		},
		"what does not fail follows": func(t *tx) error {
			_ = t.exec(wrong, "a")
			return t.exec(stored, "b")
		},
		"a row is read": func(t *tx) error {
			_ = t.exec(wrong, "a")
			var one int
			return t.row(`SELECT 1`).Scan(&one)
		},
		"rows are read": func(t *tx) error {
			_ = t.exec(wrong, "a")
			_, err := t.has(`SELECT 1`)
			return err
		},
		"its error is not looked at": func(t *tx) error {
			_ = t.exec(wrong, "a")
			_, _ = t.affect(stored, "b")
			return nil
		},
		"it cannot even be sent": func(t *tx) error {
			_ = t.exec(stored, struct{}{})
			_, err := t.affect(stored, "b")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.write(t.Context(), func(t *tx) error {
				if err := t.exec(stored, "before"); err != nil {
					return err
				}
				return op(t)
			})
			if err == nil || strings.Contains(err.Error(), "aborted") {
				t.Errorf("the transaction says %v", err)
			}
			err = s.read(t.Context(), func(tx *tx) error {
				found, err := tx.has(`SELECT 1 FROM images`)
				if found {
					t.Error("something was stored")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	err := s.write(t.Context(), func(t *tx) error { return t.exec(stored, "a") })
	if err != nil {
		t.Errorf("the next transaction: %v", err)
	}
}
