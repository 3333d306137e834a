package config

import (
	"cmp"
	"slices"
	"time"
)

// DefaultQueue is the queue that exists without being configured.
const DefaultQueue = "default"

// Queue is a queue of requests.
type Queue struct {
	Name        string        `json:"name"`
	Concurrency int           `json:"concurrency"` // per worker process
	Timeout     time.Duration `json:"timeout"`
	Attempts    int           `json:"attempts"` // runs in all, at least 1
	Priority    int           `json:"priority"` // 1 to 10, more is sooner
	Serial      Serial        `json:"serial"`
	Requests    []string      `json:"requests"` // the types that go here, whoever submits them
}

// Serial says which requests of a queue run one after another, over all
// processes.
type Serial string

const (
	SerialNone  Serial = "none"
	SerialIndex Serial = "index" // those on the same index
	SerialQueue Serial = "queue" // all of them
)

// User chooses queues for a user's requests.
type User struct {
	Name           string        `json:"name"`
	Queue          string        `json:"queue"`           // may be empty
	OverwriteQueue string        `json:"overwrite_queue"` // may be empty
	Indexes        []*IndexQueue `json:"indexes"`
}

// IndexQueue chooses queues for a user's requests on one index.
type IndexQueue struct {
	// Index is the pull spec as requests have it.
	Index          string `json:"index"`
	Queue          string `json:"queue"`
	OverwriteQueue string `json:"overwrite_queue"`
}

// Queue returns the queue of a name, nil if there is none.
func (c *Config) Queue(name string) *Queue {
	for _, q := range c.Queues {
		if q.Name == name {
			return q
		}
	}
	return nil
}

// QueueFor returns the name of the queue that a request goes to. The user is
// empty if nobody was recognized, the index if the type has none.
func (c *Config) QueueFor(requestType, user, index string, overwrite bool) string {
	for _, q := range c.Queues {
		if slices.Contains(q.Requests, requestType) {
			return q.Name
		}
	}
	for _, u := range c.Users {
		if u.Name != user {
			continue
		}
		var own IndexQueue
		for _, i := range u.Indexes {
			if i.Index == index {
				own = *i
			}
		}
		if overwrite {
			return cmp.Or(own.OverwriteQueue, u.OverwriteQueue, own.Queue, u.Queue, DefaultQueue)
		}
		return cmp.Or(own.Queue, u.Queue, DefaultQueue)
	}
	return DefaultQueue
}

func decodeQueues(root *node) []*Queue {
	var queues []*Queue
	named := false
	for _, n := range root.all("queue") {
		queues = append(queues, decodeQueue(n, n.labels[0]))
		named = named || n.labels[0] == DefaultQueue
	}
	if !named {
		absent := &node{block: root.block.block("queue")}
		queues = append([]*Queue{decodeQueue(absent, DefaultQueue)}, queues...)
	}
	return queues
}

func decodeQueue(n *node, name string) *Queue {
	return &Queue{
		Name:        name,
		Concurrency: n.number("concurrency"),
		Timeout:     n.duration("timeout"),
		Attempts:    n.number("attempts"),
		Priority:    n.number("priority"),
		Serial:      Serial(n.text("serial")),
		Requests:    n.list("requests"),
	}
}

func decodeUsers(root *node) []*User {
	var users []*User
	for _, n := range root.all("user") {
		u := &User{Name: n.labels[0], Queue: n.text("queue"), OverwriteQueue: n.text("overwrite_queue")}
		for _, i := range n.all("index") {
			u.Indexes = append(u.Indexes, &IndexQueue{
				Index: i.labels[0], Queue: i.text("queue"), OverwriteQueue: i.text("overwrite_queue"),
			})
		}
		users = append(users, u)
	}
	return users
}
