package api

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// limiter counts submissions by user. A user may submit a minute's worth at
// once, and gets a new one each time that a share of a minute is over. Its zero
// value is ready.
type limiter struct {
	mu    sync.Mutex
	users map[string]*allowance
	swept time.Time
}

// allowance is what a user may still submit, as of a time. Batches may take it
// below zero.
type allowance struct {
	left float64
	at   time.Time
}

// sweepEvery bounds how long users who have all of their allowance again are
// remembered.
const sweepEvery = time.Minute

// take counts n submissions, if at least one may be made. Otherwise it returns
// how long that will take.
func (l *limiter) take(user string, n, perMinute int, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.allowance(user, perMinute, now)
	if a.left < 1 {
		return time.Duration((1 - a.left) / float64(perMinute) * float64(time.Minute)), false
	}
	a.left -= float64(n)
	return 0, true
}

// charge counts n submissions more, whatever is left.
func (l *limiter) charge(user string, n, perMinute int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowance(user, perMinute, now).left -= float64(n)
}

func (l *limiter) allowance(user string, perMinute int, now time.Time) *allowance {
	if now.Sub(l.swept) > sweepEvery {
		l.swept = now
		for name, a := range l.users {
			if a.grown(perMinute, now) >= float64(perMinute) {
				delete(l.users, name)
			}
		}
	}
	a := l.users[user]
	if a == nil {
		if l.users == nil {
			l.users = make(map[string]*allowance)
		}
		a = &allowance{left: float64(perMinute), at: now}
		l.users[user] = a
	}
	a.left, a.at = a.grown(perMinute, now), now
	return a
}

func (a *allowance) grown(perMinute int, now time.Time) float64 {
	return min(float64(perMinute), a.left+now.Sub(a.at).Minutes()*float64(perMinute))
}

// limited refuses a submission of a user who has made too many. Callers without
// a user are told apart by their address.
func (s *server) limited(w http.ResponseWriter, r *http.Request, user string) error {
	perMinute := s.Settings().RequestsPerMinute
	if perMinute <= 0 {
		return nil
	}
	wait, ok := s.submissions.take(submitter(r, user), 1, perMinute, time.Now())
	if ok {
		return nil
	}
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", seconds)
	return &statusError{status: http.StatusTooManyRequests,
		message: "This server takes " + strconv.Itoa(perMinute) + " requests a minute from one user: try again in " + seconds + " seconds."}
}

// countBatch counts what a batch has beside its first request.
func (s *server) countBatch(r *http.Request, user string, items int) {
	if perMinute := s.Settings().RequestsPerMinute; perMinute > 0 && items > 1 {
		s.submissions.charge(submitter(r, user), items-1, perMinute, time.Now())
	}
}

func submitter(r *http.Request, user string) string {
	if user != "" {
		return "user " + user
	}
	return "address " + clientOf(r)
}
