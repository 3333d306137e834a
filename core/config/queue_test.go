package config

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// userToQueue is IIB's option: a key is "SERIAL:user", "PARALLEL:user" or
// "user", a value is a queue, under "all", and queues by index.
type userToQueue map[string]map[string]string

// choose is the algorithm of the contract's section 10.2, written down again.
func (m userToQueue) choose(user, index string, overwrite bool) string {
	if user == "" {
		return DefaultQueue
	}
	label := "PARALLEL:"
	if overwrite {
		label = "SERIAL:"
	}
	queues := m[label+user]
	if queues == nil {
		queues = m[user]
	}
	if queues == nil {
		return DefaultQueue
	}
	if q := queues[index]; index != "all" && q != "" {
		return q
	}
	return queues["all"]
}

// translate writes the option for a user as the manual's table says.
func (m userToQueue) translate(user string) string {
	parallel, serial := m["PARALLEL:"+user], m["SERIAL:"+user]
	if parallel == nil {
		parallel = m[user]
	}
	if serial == nil {
		serial = m[user]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "user %q {\n", user)
	if parallel != nil {
		fmt.Fprintf(&b, "  queue = %q\n", parallel["all"])
	}
	if serial != nil {
		fmt.Fprintf(&b, "  overwrite_queue = %q\n", serial["all"])
	} else {
		fmt.Fprintf(&b, "  overwrite_queue = %q\n", DefaultQueue)
	}
	for _, index := range indexes {
		p, s := parallel[index], serial[index]
		if p == "" && s == "" {
			continue
		}
		fmt.Fprintf(&b, "  index %q {\n", index)
		if p != "" {
			fmt.Fprintf(&b, "    queue = %q\n", p)
		}
		if s != "" {
			fmt.Fprintf(&b, "    overwrite_queue = %q\n", s)
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

var indexes = []string{"quay.io/ns/index:v4.15", "quay.io/ns/index:v4.16"}

func TestEveryFormOfIIBsUserToQueueCanBeSaid(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	queues := []string{"q1", "q2", "q3", "q4"}
	for range 200 {
		m := make(userToQueue)
		for _, key := range []string{"u", "SERIAL:u", "PARALLEL:u"} {
			if random.IntN(2) == 0 {
				continue
			}
			m[key] = map[string]string{"all": queues[random.IntN(4)]}
			for _, index := range indexes {
				if random.IntN(2) == 0 {
					m[key][index] = queues[random.IntN(4)]
				}
			}
		}
		text := m.translate("u")
		for _, q := range queues {
			text += fmt.Sprintf("queue %q {}\n", q)
		}
		c := mustLoad(t, text, nil)
		for _, user := range []string{"", "u", "U", "other"} {
			for _, index := range append([]string{"", "all", "quay.io/ns/index"}, indexes...) {
				for _, overwrite := range []bool{false, true} {
					want := m.choose(user, index, overwrite)
					if got := c.QueueFor("add", user, index, overwrite); got != want {
						t.Fatalf("user %q, index %q, overwrite %v: %s, want %s, by\n%v\n%s", user, index, overwrite, got, want, m, text)
					}
				}
			}
		}
	}
}

func TestOverwritingRequestGoesToTheUsersQueueIfNoOtherIsNamed(t *testing.T) {
	c := mustLoad(t, `
queue "q" {}
queue "r" {}
user "u" {
  queue = "q"
  index "i:1" { queue = "r" }
}`, nil)
	for index, want := range map[string]string{"": "q", "i:2": "q", "i:1": "r"} {
		for _, overwrite := range []bool{false, true} {
			if got := c.QueueFor("add", "u", index, overwrite); got != want {
				t.Errorf("index %q, overwrite %v: %s, want %s", index, overwrite, got, want)
			}
		}
	}
}

func TestATypeGoesToTheQueueThatNamesIt(t *testing.T) {
	c := mustLoad(t, `
queue "composes" { requests = ["compose"] }
queue "q" {}
user "u" { queue = "q" }`, nil)
	for _, user := range []string{"", "u"} {
		if got := c.QueueFor("compose", user, "", false); got != "composes" {
			t.Errorf("user %q: %s", user, got)
		}
	}
	if got := c.QueueFor("add", "u", "", false); got != "q" {
		t.Errorf("another type goes to %s", got)
	}
}

func TestDefaultQueueIsThereWithAndWithoutABlock(t *testing.T) {
	c := mustLoad(t, `queue "a" {}`, nil)
	if q := c.Queue(DefaultQueue); q == nil || q.Concurrency != 4 || q.Attempts != 5 || len(c.Queues) != 2 {
		t.Errorf("the default queue is %+v of %d", q, len(c.Queues))
	}
	c = mustLoad(t, `queue "default" { concurrency = 9 }`, nil)
	if q := c.Queue(DefaultQueue); q.Concurrency != 9 || len(c.Queues) != 1 {
		t.Errorf("the default queue is %+v of %d", q, len(c.Queues))
	}
	if c.Queue("absent") != nil {
		t.Error("a queue that is not there was found")
	}
}
