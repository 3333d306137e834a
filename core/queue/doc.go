// Package queue carries the hint that a request waits in a queue to the workers,
// through asynq on Redis. A task says no more than that: which request its worker
// runs is the store's choice. Tasks may be lost, and be more than there are
// requests: the store is the truth, and the engine tops up what is missing.
package queue
