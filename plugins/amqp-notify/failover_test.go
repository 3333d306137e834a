package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
)

func TestTheNextBrokerIsUsedWhenOneFails(t *testing.T) {
	r := theRabbit(t)
	first, second := through(t, r.Address()), through(t, r.Address())
	served := sdktest.Notifier(t, plainly(first.url(), second.url()))
	sent := int64(0)
	send := func() error {
		sent++
		return served.Notify(t.Context(), buildEvent(sent, sent, "in_progress", ""))
	}
	used := func(a, b int) {
		t.Helper()
		if x, y := first.connections(), second.connections(); x != a || y != b {
			t.Errorf("%d and %d connections were made, want %d and %d", x, y, a, b)
		}
	}
	for range 2 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	used(1, 0)

	first.down() // a lost connection is noticed and made up for within the call
	for range 2 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	used(1, 1)

	second.down()
	sent--
	wantError(t, send(), sdk.Unavailable, "no broker is reached", first.url(), second.url(), "connection refused")

	first.up()
	if err := send(); err != nil {
		t.Fatal(err)
	}
	used(2, 1)
	for i, m := range r.Receive(t, rabbitmq.BuildQueue, int(sent)) {
		if id := m.Properties["id"]; id == nil || id.Value != float64(i+1) {
			t.Errorf("message %d has the ID %v", i+1, id)
		}
	}
}

func TestABrokerThatFallsSilentIsLeft(t *testing.T) {
	r := theRabbit(t)
	first, second := through(t, r.Address()), through(t, r.Address())
	n := plainly(first.url(), second.url())
	n.Timeout = time.Second
	served := sdktest.Notifier(t, n)
	if err := served.Notify(t.Context(), buildEvent(1, 1, "in_progress", "")); err != nil {
		t.Fatal(err)
	}
	first.hush()
	e := buildEvent(2, 2, "failed", "")
	wantError(t, served.Notify(t.Context(), e), sdk.Unavailable, "did not settle the message within 1s")
	e.Delivery++
	if err := served.Notify(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if n := second.connections(); n != 1 {
		t.Errorf("%d connections were made to the second broker", n)
	}
	// The broker took the message whose settlement was lost: it is there twice,
	// and a listener can tell.
	got := r.Receive(t, rabbitmq.BuildQueue, 3)
	if diff := gocmp.Diff(got[1], got[2]); diff != "" {
		t.Errorf("the repetition differs:\n%s", diff)
	}
}

func TestABrokerThatIsKilledAndComesBack(t *testing.T) {
	r := theRabbit(t)
	served := sdktest.Notifier(t, sending(r))
	if err := served.Notify(t.Context(), buildEvent(1, 1, "in_progress", "")); err != nil {
		t.Fatal(err)
	}
	r.Kill()
	e := buildEvent(2, 2, "complete", "")
	for range 2 {
		wantError(t, served.Notify(t.Context(), e), sdk.Unavailable, "no broker is reached", r.Secure())
	}
	r.Start(t)
	if err := served.Notify(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	got := r.Receive(t, rabbitmq.BuildQueue, 2)
	for i, e := range []*sdk.Event{buildEvent(1, 1, "in_progress", ""), e} {
		if diff := gocmp.Diff(want(e, true), got[i]); diff != "" {
			t.Errorf("event %s (-want +got):\n%s", e.ID, diff)
		}
	}
}

func TestClosingEndsTheConnection(t *testing.T) {
	r := theRabbit(t)
	network := through(t, r.Address())
	n := plainly(network.url())
	if err := n.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(t.Context(), buildEvent(1, 1, "failed", "")); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	network.idle()
	wantError(t, n.Notify(t.Context(), buildEvent(2, 2, "failed", "")), sdk.Unavailable, "closed")
	r.Receive(t, rabbitmq.BuildQueue, 1)
}

func TestLogins(t *testing.T) {
	r := theRabbit(t)
	strangerCert, strangerKey := r.Authority.Issue("stranger")
	for _, c := range []struct {
		name   string
		change func(*notifier)
		says   string
	}{
		{"a wrong password", func(n *notifier) { *n = *plainly("amqp://" + r.Address()); n.Password = "guess" }, "auth failed"},
		{"a broker that wants a login", func(n *notifier) {
			*n = *plainly("amqp://" + r.Address())
			n.Username, n.Password, n.SASL = "", "", saslExternal
		}, ""},
		{"no certificate", func(n *notifier) { n.Cert, n.Key = "", "" }, ""},
		{"a certificate of nobody", func(n *notifier) { n.Cert, n.Key = strangerCert, strangerKey }, ""},
		{"a broker that nobody vouches for", func(n *notifier) { n.CA = "" }, "certificate"},
		{"plain AMQP where TLS is spoken", func(n *notifier) { n.URLs = []string{strings.Replace(r.Secure(), "amqps:", "amqp:", 1)} }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := sending(r)
			c.change(n)
			if err := n.Start(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			wantError(t, n.Notify(t.Context(), buildEvent(1, 1, "failed", "")), sdk.Unavailable, "no broker is reached", c.says)
		})
	}
}

func TestPeersThatAreNoBrokers(t *testing.T) {
	wait := func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }
	say := func(what string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) { _, _ = conn.Write([]byte(what)); wait(conn) }
	}
	for _, c := range []struct {
		name  string
		serve func(*net.TCPConn)
		says  string
	}{
		{"one that hangs up", func(*net.TCPConn) {}, ""},
		{"one that says nothing", wait, "no connection within 300ms"},
		{"a web server", say("HTTP/1.1 400 Bad Request\r\n\r\n"), ""},
		{"AMQP 0-9-1", say("AMQP\x00\x00\x09\x01"), ""},
		{"one that stops after its header", say("AMQP\x03\x01\x00\x00"), "no connection within 300ms"},
		{"one whose frame is endless", say("AMQP\x03\x01\x00\x00\xff\xff\xff\xff\x02\x01\x00\x00"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := plainly("amqp://" + loopback.Serve(t, c.serve))
			n.Timeout = 300 * time.Millisecond
			wantError(t, sdktest.Notifier(t, n).Notify(t.Context(), buildEvent(1, 1, "failed", "")), sdk.Unavailable, "no broker is reached", c.says)
		})
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	arrived := make(chan struct{}, 1)
	n := plainly("amqp://" + loopback.Serve(t, func(conn *net.TCPConn) { arrived <- struct{}{}; _, _ = io.Copy(io.Discard, conn) }))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if err := sdktest.Notifier(t, n).Notify(ctx, buildEvent(1, 1, "failed", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSilentBrokersAreToldOfBeforeTheCallEnds(t *testing.T) {
	n := plainly("amqp://" + loopback.Serve(t, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := sdktest.Notifier(t, n).Notify(ctx, buildEvent(1, 1, "failed", ""))
	wantError(t, err, sdk.Unavailable, "send to "+rabbitmq.BuildQueue, "in the time that the engine gives")
}
