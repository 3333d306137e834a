package image

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlights(t *testing.T) {
	t.Run("share one run, and one caller leads", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var f flights[string, int]
			runs, leaders := 0, make(chan bool, 3)
			for range 3 {
				go func() {
					v, leader, err := f.do(t.Context(), "k", func(context.Context) (int, error) {
						runs++
						time.Sleep(time.Second)
						return 7, nil
					})
					if v != 7 || err != nil {
						t.Errorf("got %d, %v", v, err)
					}
					leaders <- leader
				}()
			}
			led := 0
			for range 3 {
				if <-leaders {
					led++
				}
			}
			if runs != 1 || led != 1 {
				t.Errorf("%d runs, %d leaders", runs, led)
			}
			if len(f.running) != 0 {
				t.Error("the flight was not forgotten")
			}
		})
	})
	t.Run("outlive the caller that began them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var f flights[string, int]
			first, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			fn := func(ctx context.Context) (int, error) {
				select {
				case <-ctx.Done():
					return 0, ctx.Err()
				case <-time.After(time.Minute):
					return 7, nil
				}
			}
			go func() {
				_, _, err := f.do(first, "k", fn)
				ended <- err
			}()
			synctest.Wait()
			second := make(chan int, 1)
			go func() {
				v, _, _ := f.do(t.Context(), "k", fn)
				second <- v
			}()
			synctest.Wait()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller got %v", err)
			}
			if v := <-second; v != 7 {
				t.Errorf("the second caller got %d", v)
			}
		})
	})
	t.Run("end with their last caller, who waits until they have", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var f flights[string, int]
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			finished := false
			_, _, err := f.do(ctx, "k", func(ctx context.Context) (int, error) {
				<-ctx.Done()
				time.Sleep(time.Second) // puts things away
				finished = true
				return 0, ctx.Err()
			})
			if !errors.Is(err, context.Canceled) || !finished {
				t.Errorf("got %v, finished %t", err, finished)
			}
		})
	})
}
