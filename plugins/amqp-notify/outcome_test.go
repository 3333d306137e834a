package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// protonPeer runs a peer on Qpid Proton, and returns its URL and what it
// prints: the target of each message.
func protonPeer(t *testing.T) (url string, targets <-chan string) {
	t.Helper()
	real.Need(t, "python3-proton")
	address := loopback.Address(t)
	output, its, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer its.Close() // the child keeps its own
	command := exec.Command(rabbitmq.Python, "testdata/peer.py", address)
	var stderr strings.Builder
	command.Stdout, command.Stderr = its, &stderr
	peer, err := child.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		defer output.Close()
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		peer.Kill()
		for range lines {
		}
	})
	if line := <-lines; line != "ready" {
		t.Fatalf("the peer did not start: %s", &stderr)
	}
	return "amqp://" + address, lines
}

func TestTheOutcomeDecidesWhatBecomesOfAnEvent(t *testing.T) {
	url, targets := protonPeer(t)
	for _, c := range []struct {
		destination string
		code        sdk.Code
		says        string
		arrives     int
	}{
		{"accept", "", "", 1},
		{"reject", sdk.Invalid, "send to reject at " + url + ": rejected: amqp:precondition-failed: the schema does not fit", 1},
		{"reject-mutely", sdk.Invalid, "send to reject-mutely at " + url + ": rejected", 1},
		{"release", sdk.Unavailable, "send to release at " + url + ": not taken, but released", 1},
		{"modify", sdk.Unavailable, "send to modify at " + url + ": not taken, but modified", 1},
		{"small", sdk.Invalid, "amqp:link:message-size-exceeded", 0},
		{"detach", sdk.Unavailable, "send to detach at " + url + ": amqp:resource-deleted: the node went away", 1},
		{"close", sdk.Unavailable, "send to close at " + url + ": amqp:connection:forced: maintenance", 1},
	} {
		t.Run(c.destination, func(t *testing.T) {
			n := newNotifier()
			n.URLs, n.Build, n.Batch = []string{url}, c.destination, "batch"
			served := sdktest.Notifier(t, n)
			for range 2 { // the second finds what the first has left
				err := served.Notify(t.Context(), buildEvent(1, 1, "failed", ""))
				switch {
				case c.code == "" && err != nil:
					t.Fatal(err)
				case c.code != "":
					wantError(t, err, c.code, c.says)
				}
				for range c.arrives {
					arrived(t, targets, c.destination)
				}
			}
			if err := served.Notify(t.Context(), batchEvent(2, "failed", "")); err != nil {
				t.Errorf("another destination: %v", err)
			}
			arrived(t, targets, "batch")
		})
	}
}

// arrived waits for the next message and demands its target.
func arrived(t *testing.T, targets <-chan string, want string) {
	t.Helper()
	select {
	case got := <-targets:
		if got != want {
			t.Errorf("a message arrived at %q, want %q", got, want)
		}
	case <-time.After(rabbitmq.Patience):
		t.Fatalf("no message arrived at %q", want)
	}
}
