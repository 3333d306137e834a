// Package queue carries the hint that a request waits to the workers, through
// asynq on Redis. What it carries is a request's ID, and the span of its
// submission if that is traced. It may lose it: the store is the truth, and the
// engine repeats what was lost.
package queue
