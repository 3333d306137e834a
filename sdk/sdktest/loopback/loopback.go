// Package loopback has servers for tests, and finds addresses for those that a
// test starts as programs, and which therefore cannot take a listener from it.
package loopback

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports lie below those that Linux gives to whoever asks for any, so that
// no connection takes one between the choice and the server's start.
const lowest, count = 15000, 10000

var (
	mu    sync.Mutex
	given = make(map[int]bool)
)

// Port returns a TCP port that is free, and that no other call in this program
// gets. A server may use it again after it was killed.
func Port(t testing.TB) int {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	for range count {
		port := lowest + rand.IntN(count)
		if given[port] {
			continue
		}
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		given[port] = true
		return port
	}
	t.Fatalf("no port from %d to %d is free", lowest, lowest+count-1)
	return 0
}

// Address returns the address of a port that Port has chosen, such as
// 127.0.0.1:15000.
func Address(t testing.TB) string {
	t.Helper()
	return address(Port(t))
}

// Serve listens until the test ends, gives each connection to serve, which may
// run several times at once, and closes it afterwards.
func Serve(t testing.TB, serve func(*net.TCPConn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return listener.Addr().String()
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
