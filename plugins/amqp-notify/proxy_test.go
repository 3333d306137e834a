package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is the network between a notifier and a broker. It can fail.
type proxy struct {
	t      testing.TB
	target string
	addr   string

	mu       sync.Mutex
	listener net.Listener
	pairs    map[net.Conn]net.Conn // client to broker
	// silent holds back what the broker answers.
	silent   bool
	accepted int
	changed  *sync.Cond
}

// through returns a network to a port on loopback, which is up.
func through(t testing.TB, target string) *proxy {
	p := &proxy{t: t, target: target, addr: "127.0.0.1:0", pairs: make(map[net.Conn]net.Conn)}
	p.changed = sync.NewCond(&p.mu)
	p.up()
	t.Cleanup(p.down)
	return p
}

func (p *proxy) url() string { return "amqp://" + p.addr }

// up listens, on the same port as before.
func (p *proxy) up() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener, p.addr, p.silent = listener, listener.Addr().String(), false
	p.mu.Unlock()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
}

func (p *proxy) serve(client net.Conn) {
	broker, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.accepted++
	p.pairs[client] = broker
	p.changed.Broadcast()
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(broker, client); _ = broker.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(writerFunc(p.answer(client)), broker); _ = client.Close() })
	both.Wait()
	_ = broker.Close()
	p.mu.Lock()
	delete(p.pairs, client)
	p.changed.Broadcast()
	p.mu.Unlock()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

// answer passes on what the broker says, unless the proxy is silent: then it
// is lost.
func (p *proxy) answer(client net.Conn) func([]byte) (int, error) {
	return func(data []byte) (int, error) {
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		if silent {
			return len(data), nil
		}
		return client.Write(data)
	}
}

// hush loses all answers from now on.
func (p *proxy) hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

// cut resets the connections that there are.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, broker := range p.pairs {
		_ = client.(*net.TCPConn).SetLinger(0)
		_ = client.Close()
		_ = broker.Close()
	}
}

// down refuses new connections and cuts the others.
func (p *proxy) down() {
	p.mu.Lock()
	listener := p.listener
	p.mu.Unlock()
	if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		p.t.Error(err)
	}
	p.cut()
}

// connections are how many were made in all.
func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// idle waits until no connection is open.
func (p *proxy) idle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.pairs) > 0 {
		p.changed.Wait()
	}
}
