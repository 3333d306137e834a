package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/iib-engine/iib/sdk"
)

// What a broker's URL begins with.
const (
	schemePlain = "amqp"
	schemeTLS   = "amqps"
)

var ports = map[string]string{schemePlain: "5672", schemeTLS: "5671"}

// broker is the broker in use: the connection to one of several, kept between
// messages and made again when it breaks. It is safe for concurrent use.
type broker struct {
	urls    []string
	timeout time.Duration
	tls     func() (*tls.Config, error)
	login   amqp.SASLType

	// turn is held while connecting or attaching.
	turn chan struct{}
	// The rest belongs to the holder of turn.
	next int // the URL to try next
	conn *connection
	done bool
	// closing are connections that are being taken leave of.
	closing sync.WaitGroup
}

// connection is one to a broker, with a sender for each destination used. Each
// has a session of its own, because brokers end the session when they refuse a
// destination.
type connection struct {
	url     string
	amqp    *amqp.Conn
	senders map[string]*sender
}

type sender struct {
	*amqp.Sender
	session     *amqp.Session
	conn        *connection
	destination string
}

// ended tells that nothing can be sent over the connection any more.
func (c *connection) ended() bool {
	select {
	case <-c.amqp.Done():
		return true
	default:
		return false
	}
}

func newBroker(urls []string, timeout time.Duration, tls func() (*tls.Config, error), login amqp.SASLType) *broker {
	return &broker{urls: urls, timeout: timeout, tls: tls, login: login, turn: make(chan struct{}, 1)}
}

// send returns nil once a broker has accepted the message, Invalid if it will
// never do so, and Unavailable otherwise; the message may have arrived then.
func (b *broker) send(ctx context.Context, destination string, m *amqp.Message) error {
	for again := true; ; again = false {
		s, kept, err := b.sender(ctx, destination)
		if err != nil {
			return err
		}
		err = b.sendBy(ctx, s, m)
		// A connection that was kept may have been lost unnoticed.
		if kept && again && lost(err) {
			continue
		}
		return s.explain(ctx, err)
	}
}

// errRejected is a broker's final refusal of a message.
var errRejected = errors.New("rejected")

// errUnsettled means that a broker has not taken a message for now.
var errUnsettled = errors.New("not taken")

func (b *broker) sendBy(ctx context.Context, s *sender, m *amqp.Message) error {
	call, cancel := context.WithTimeoutCause(ctx, b.timeout, fmt.Errorf("it did not settle the message within %s", b.timeout))
	defer cancel()
	var state amqp.DeliveryState
	receipt, err := s.SendWithReceipt(call, m, nil)
	if err == nil {
		state, err = receipt.Wait(call)
	}
	if err != nil {
		tooLarge := isCondition(err, amqp.ErrCondMessageSizeExceeded)
		if call.Err() != nil {
			err = context.Cause(call)
		}
		if !tooLarge {
			b.drop(s, err)
		}
		return err
	}
	switch state := state.(type) {
	case *amqp.StateAccepted:
		return nil
	case *amqp.StateRejected:
		if state.Error != nil {
			return fmt.Errorf("%w: %w", errRejected, state.Error)
		}
		return errRejected
	default:
		return fmt.Errorf("%w, but %s", errUnsettled, outcome(state))
	}
}

func outcome(state amqp.DeliveryState) string {
	switch state.(type) {
	case *amqp.StateReleased:
		return "released"
	case *amqp.StateModified:
		return "modified"
	}
	return fmt.Sprintf("left as %T", state)
}

// explain gives an error the code that decides what becomes of the event.
func (s *sender) explain(ctx context.Context, err error) error {
	code := sdk.Unavailable
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errRejected), isCondition(err, amqp.ErrCondMessageSizeExceeded):
		code = sdk.Invalid
	}
	return sdk.Errorf(code, "send to %s at %s: %s", s.destination, s.conn.url, text(err))
}

// isCondition tells whether the peer, or the library for it, gave a condition.
func isCondition(err error, condition amqp.ErrCond) bool {
	remote, ok := errors.AsType[*amqp.Error](err)
	return ok && remote.Condition == condition
}

// lost tells that a connection or a part of it has ended.
func lost(err error) bool {
	if _, ok := errors.AsType[*amqp.ConnError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*amqp.SessionError](err); ok {
		return true
	}
	_, ok := errors.AsType[*amqp.LinkError](err)
	return ok
}

// text returns an error without the dump that the library makes of those of
// the protocol.
func text(err error) string {
	remote, ok := errors.AsType[*amqp.Error](err)
	if !ok {
		return err.Error()
	}
	says := string(remote.Condition)
	if remote.Description != "" {
		says += ": " + strings.TrimSpace(strings.ToValidUTF8(remote.Description, ""))
	}
	if errors.Is(err, errRejected) {
		says = errRejected.Error() + ": " + says
	}
	return says
}

// lock takes the turn.
func (b *broker) lock(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *broker) unlock() { <-b.turn }

// sender returns a sender for a destination, over the connection that there is
// or a new one. kept tells that it was there before.
func (b *broker) sender(ctx context.Context, destination string) (s *sender, kept bool, err error) {
	if err := b.lock(ctx); err != nil {
		return nil, false, err
	}
	defer b.unlock()
	if b.done {
		return nil, false, sdk.Errorf(sdk.Unavailable, "the notifier is being closed")
	}
	if c := b.conn; c != nil {
		if s := c.senders[destination]; s != nil && !c.ended() {
			return s, true, nil
		}
		s, err := b.attach(ctx, c, destination)
		if err == nil || b.conn == c {
			return s, false, err // a broker that refuses is there
		}
	}
	if err := b.connect(ctx); err != nil {
		return nil, false, err
	}
	s, err = b.attach(ctx, b.conn, destination)
	return s, false, err
}

// connect tries each URL once, from the one after that which failed last.
func (b *broker) connect(ctx context.Context) error {
	var faults []string
	for range b.urls {
		address := b.urls[b.next]
		conn, err := b.dial(ctx, address)
		if err == nil {
			slog.InfoContext(ctx, "connected to a broker", "url", address)
			b.conn = &connection{url: address, amqp: conn, senders: make(map[string]*sender)}
			return nil
		}
		b.next = (b.next + 1) % len(b.urls)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		slog.WarnContext(ctx, "a broker is not reached", "url", address, "err", err)
		faults = append(faults, fmt.Sprintf("%s: %s", address, text(err)))
	}
	return sdk.Errorf(sdk.Unavailable, "no broker is reached: %s", strings.Join(faults, "; "))
}

// dial connects, encrypts where the URL says so, and logs in.
func (b *broker) dial(ctx context.Context, address string) (*amqp.Conn, error) {
	call, cancel := context.WithTimeoutCause(ctx, b.timeout, fmt.Errorf("no connection within %s", b.timeout))
	defer cancel()
	because := func(err error) error {
		// The socket has the call's deadline, and may notice it first.
		if fault, ok := errors.AsType[net.Error](err); ok && fault.Timeout() {
			<-call.Done()
		}
		if cause := context.Cause(call); cause != nil {
			return cause
		}
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = ports[u.Scheme]
	}
	var dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = new(net.Dialer)
	if u.Scheme == schemeTLS {
		config, err := b.tls()
		if err != nil {
			return nil, err
		}
		dialer = &tls.Dialer{Config: config}
	}
	socket, err := dialer.DialContext(call, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, because(err)
	}
	conn, err := amqp.NewConn(call, socket, &amqp.ConnOptions{HostName: u.Hostname(), SASLType: b.login, WriteTimeout: b.timeout})
	if err != nil {
		_ = socket.Close()
		return nil, because(err)
	}
	return conn, nil
}

// attach makes a sender for a destination. If it cannot because the connection
// has ended, or because nobody answers, the connection is left.
func (b *broker) attach(ctx context.Context, c *connection, destination string) (*sender, error) {
	call, cancel := context.WithTimeoutCause(ctx, b.timeout, fmt.Errorf("no answer within %s", b.timeout))
	defer cancel()
	s := &sender{conn: c, destination: destination}
	var err error
	if s.session, err = c.amqp.NewSession(call, nil); err == nil {
		// Every message is sent unsettled. To demand it of the link fails with
		// peers that can do both and say so.
		s.Sender, err = s.session.NewSender(call, destination, nil)
	}
	if err == nil {
		c.senders[destination] = s
		return s, nil
	}
	switch {
	case call.Err() != nil || c.ended():
		b.leave(c)
	case s.session != nil:
		_ = s.session.Close(call)
	}
	if call.Err() != nil {
		err = context.Cause(call)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, sdk.Errorf(sdk.Unavailable, "open %s at %s: %s", destination, c.url, text(err))
}

// drop forgets a sender that failed, and its connection if that is why.
func (b *broker) drop(s *sender, err error) {
	// The holder of turn may be connecting; that is bounded.
	b.turn <- struct{}{}
	defer b.unlock()
	if b.conn != s.conn {
		return
	}
	_, link := errors.AsType[*amqp.LinkError](err)
	_, session := errors.AsType[*amqp.SessionError](err)
	if !link && !session {
		b.leave(s.conn) // a broker that does not answer is as good as gone
		return
	}
	if s.conn.senders[s.destination] == s {
		delete(s.conn.senders, s.destination)
		b.closing.Go(func() {
			call, cancel := context.WithTimeout(context.Background(), b.timeout)
			defer cancel()
			_ = s.session.Close(call)
		})
	}
}

// leave ends a connection without waiting for it. The next one is to the next
// URL.
func (b *broker) leave(c *connection) {
	b.conn = nil
	b.next = (b.next + 1) % len(b.urls)
	b.closing.Go(func() { _ = c.amqp.Close() })
}

// close ends the connection and waits for its end.
func (b *broker) close() {
	b.turn <- struct{}{}
	defer b.unlock()
	b.done = true
	if b.conn != nil {
		b.leave(b.conn)
	}
	b.closing.Wait()
}
