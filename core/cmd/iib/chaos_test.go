package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// chaos kills and stops parts of an estate. It is for one goroutine.
type chaos struct {
	*estate
	random *rand.Rand
	// every is the time between two faults, on average.
	every time.Duration
	// turn are the faults that have not had their turn in this round.
	turn []harm
	// resumes are due for what hangs at present.
	resumes []resume
	began   time.Time
	count   int
}

// harm is a way to die. It returns what it did, or "" if it found nothing to
// do it to.
type harm func() string

type resume struct {
	due time.Time
	do  func()
}

func (c *chaos) faults() []harm {
	worker := func() *kept { return c.workers[c.random.IntN(len(c.workers))] }
	api := func() *kept { return c.apis[c.random.IntN(len(c.apis))] }
	kill := func(pick func() *kept, signal syscall.Signal) harm {
		return func() string {
			k := pick()
			k.signal(signal)
			return fmt.Sprintf("%s gets %s", k.name, signalName(signal))
		}
	}
	stop := func(pick func() *kept, most time.Duration) harm {
		return func() string {
			k := pick()
			k.mu.Lock()
			process := k.process
			k.mu.Unlock()
			if process == nil {
				return ""
			}
			_ = process.Signal(syscall.SIGSTOP)
			return k.name + c.later(most, func() { _ = process.Signal(syscall.SIGCONT) })
		}
	}
	plugin := func(pick func() *kept) (string, int) {
		k := pick()
		pids := k.plugins()
		if len(pids) == 0 {
			return "", 0
		}
		return "a plugin of " + k.name, pids[c.random.IntN(len(pids))]
	}
	killPlugin := func(pick func() *kept) harm {
		return func() string {
			name, pid := plugin(pick)
			if pid == 0 {
				return ""
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return name + " gets SIGKILL"
		}
	}
	stopPlugin := func(pick func() *kept) harm {
		return func() string {
			name, pid := plugin(pick)
			if pid == 0 {
				return ""
			}
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			return name + c.later(8*time.Second, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		}
	}
	registry := func() *kept { return c.store }
	jump := func(pick func() *kept) harm {
		return func() string {
			k := pick()
			if k.clock == nil {
				return ""
			}
			// Ahead, behind, or back to where it was.
			ahead := []time.Duration{-time.Hour, 0, time.Hour}
			ahead = slices.DeleteFunc(ahead, func(d time.Duration) bool { return d == k.clock.ahead })
			return "the clock of " + k.name + " " + k.clock.set(ahead[c.random.IntN(len(ahead))])
		}
	}
	return []harm{
		kill(worker, syscall.SIGKILL), kill(worker, syscall.SIGKILL), kill(worker, syscall.SIGTERM), stop(worker, 6*time.Second), stop(worker, 3*time.Second),
		kill(api, syscall.SIGKILL), kill(api, syscall.SIGTERM), stop(api, 4*time.Second),
		killPlugin(worker), killPlugin(worker), killPlugin(worker), killPlugin(api), stopPlugin(worker),
		kill(registry, syscall.SIGKILL), killPlugin(registry),
		jump(worker), jump(worker), jump(api), jump(registry),
		func() string {
			c.redis.Kill()
			c.redis.Start()
			return "Redis gets SIGKILL and starts again with nothing"
		},
		func() string { _, err := c.redis.Do("FLUSHALL"); return fmt.Sprintf("Redis is flushed (%v)", err) },
		func() string {
			c.redis.Signal(syscall.SIGSTOP)
			return "Redis" + c.later(4*time.Second, func() { c.redis.Signal(syscall.SIGCONT) })
		},
		func() string {
			c.postgres.Crash()
			c.postgres.Start()
			return "PostgreSQL gets SIGKILL and starts again"
		},
		func() string {
			if !c.postgres.CrashConnection() {
				return ""
			}
			return "a process of PostgreSQL gets SIGKILL"
		},
		func() string {
			c.postgres.Signal(syscall.SIGSTOP)
			return "PostgreSQL" + c.later(4*time.Second, func() { c.postgres.Signal(syscall.SIGCONT) })
		},
	}
}

func signalName(s syscall.Signal) string {
	return map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}[s]
}

// later lets something go on that hangs, after a while.
func (c *chaos) later(most time.Duration, do func()) string {
	pause := time.Duration(c.random.Int64N(int64(most)))
	c.resumes = append(c.resumes, resume{time.Now().Add(pause), do})
	return fmt.Sprintf(" hangs for %s", pause.Round(10*time.Millisecond))
}

// run does harm until done is closed or the time is over: each fault once, in
// an order by chance, and then again. In the end everything goes on.
func (c *chaos) run(done <-chan struct{}, most time.Duration) {
	c.began = time.Now()
	over := time.After(most)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	defer func() {
		for _, r := range c.resumes {
			r.do()
		}
		c.resumes = nil
	}()
	next := c.began
	for {
		select {
		case <-done:
			return
		case <-over:
			return
		case now := <-ticker.C:
			c.resume(now)
			if now.After(next) {
				c.strike()
				next = time.Now().Add(c.every/4 + time.Duration(c.random.Int64N(int64(c.every)*3/2)))
			}
		}
	}
}

func (c *chaos) resume(now time.Time) {
	kept := c.resumes[:0]
	for _, r := range c.resumes {
		if now.Before(r.due) {
			kept = append(kept, r)
			continue
		}
		r.do()
	}
	c.resumes = kept
}

func (c *chaos) strike() {
	if len(c.turn) == 0 {
		c.turn = c.faults()
		c.random.Shuffle(len(c.turn), func(i, j int) { c.turn[i], c.turn[j] = c.turn[j], c.turn[i] })
	}
	did := c.turn[0]()
	c.turn = c.turn[1:]
	if did == "" {
		return
	}
	c.count++
	c.t.Logf("%6.2fs  %s", time.Since(c.began).Seconds(), did)
}
