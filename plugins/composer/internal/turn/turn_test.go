package turn_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/iib-engine/iib/plugins/composer/internal/turn"
)

func TestLine(t *testing.T) {
	t.Run("the lowest number is next", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			line := turn.New(1)
			done, err := line.Wait(t.Context(), 9)
			if err != nil {
				t.Fatal(err)
			}
			order := make(chan int64, 10)
			for _, n := range []int64{7, 3, 5, 4} {
				go func() {
					done, err := line.Wait(t.Context(), n)
					if err != nil {
						t.Error(err)
						return
					}
					order <- n
					done()
				}()
				synctest.Wait()
			}
			done()
			done() // twice is once
			synctest.Wait()
			close(order)
			var got []int64
			for n := range order {
				got = append(got, n)
			}
			if !slices.Equal(got, []int64{3, 4, 5, 7}) {
				t.Errorf("%v", got)
			}
		})
	})
	t.Run("so many run at a time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			line := turn.New(2)
			running := 0
			for n := range int64(3) {
				go func() {
					if _, err := line.Wait(t.Context(), n); err == nil {
						running++
					}
				}()
				synctest.Wait()
			}
			if running != 2 {
				t.Errorf("%d run", running)
			}
		})
	})
	t.Run("who gives up takes no turn", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			line := turn.New(1)
			done, _ := line.Wait(t.Context(), 1)
			ctx, cancel := context.WithCancel(t.Context())
			gaveUp := make(chan error, 1)
			go func() {
				_, err := line.Wait(ctx, 2)
				gaveUp <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-gaveUp; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			done()
			if _, err := line.Wait(t.Context(), 3); err != nil {
				t.Error(err)
			}
		})
	})
}
