package engine

// Serial says which requests of a queue run one after another.
type Serial int

const (
	SerialNone Serial = iota
	// SerialIndex are those on the same index, as users write it.
	SerialIndex
	// SerialQueue are all.
	SerialQueue
)

// lane is what a request runs in one after another with others, or empty.
func (s Serial) lane(queue, target string) string {
	switch {
	case s == SerialQueue:
		return "queue " + queue
	case s == SerialIndex && target != "":
		return "queue " + queue + " index " + target
	}
	return ""
}

// advance has the reconciler look for the next request of a lane at once.
// Requests of a lane are not told to the queue otherwise: most of them would
// find that it is not their turn.
func (e *Engine) advance() {
	select {
	case e.moved <- struct{}{}:
	default:
	}
}
