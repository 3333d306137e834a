package main

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// cable is a way to a TCP server that can be cut: nothing comes through any
// more, and nobody is told so, as it is when a cable is cut.
type cable struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	whole *sync.Cond
	cut   bool
	ended bool
	conns map[net.Conn]bool
}

// newCable returns a cable to the server of an address, and that address with
// the cable's end in place of the server.
func newCable(t testing.TB, address string) (*cable, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{server: u.Host, conns: make(map[net.Conn]bool)}
	c.whole = sync.NewCond(&c.mu)
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := c.listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = c.listener.Close()
		c.end()
		serving.Wait()
	})
	u.Host = c.listener.Addr().String()
	return c, u.String()
}

func (c *cable) serve(client net.Conn) {
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		_ = client.Close()
		return
	}
	if !c.keep(client, server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { c.copy(server, client) })
	both.Go(func() { c.copy(client, server) })
	both.Wait()
}

func (c *cable) keep(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		if c.ended {
			_ = conn.Close()
		}
		c.conns[conn] = true
	}
	return !c.ended
}

// copy passes bytes on while the cable is whole.
func (c *cable) copy(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		c.mu.Lock()
		for c.cut && !c.ended {
			c.whole.Wait()
		}
		c.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	c.whole.Broadcast()
}

func (c *cable) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.whole.Broadcast()
}
