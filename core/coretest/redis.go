package coretest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// Redis is a Redis server of a test's own. It listens on a unix socket in a
// temporary directory, keeps nothing on disk, and does not survive the test,
// nor the test program.
type Redis struct {
	t            testing.TB
	program, dir string
	server       *child.Process
}

// StartRedis starts a server and returns its URL. Where Redis is not installed
// the test is skipped, or fails if IIB_REQUIRE_REAL is 1.
func StartRedis(t testing.TB) (url string) {
	t.Helper()
	return NewRedis(t).URL()
}

// NewRedis starts a server that the test can end and start again. Where Redis
// is not installed the test is skipped, or fails if IIB_REQUIRE_REAL is 1.
func NewRedis(t testing.TB) *Redis {
	t.Helper()
	program := real.Program(t, "redis-server")
	// A socket's address must be short, which a test's directory need not be.
	dir, err := os.MkdirTemp("", "iib-redis-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &Redis{t: t, program: program, dir: dir}
	t.Cleanup(r.Kill)
	r.Start()
	return r
}

// URL is the server's address.
func (r *Redis) URL() string { return "redis-socket://" + r.socket() }

func (r *Redis) socket() string { return filepath.Join(r.dir, "redis.sock") }

// Start starts the server again after Kill, and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	// One that was killed leaves its socket, at which nobody answers.
	_ = os.Remove(r.socket())
	var err error
	r.server, err = child.Start(exec.Command(r.program, "--port", "0", "--unixsocket", r.socket(), "--save", "", "--appendonly", "no",
		"--rdbcompression", "no", "--dir", r.dir))
	if err != nil {
		r.t.Fatal(err)
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-ticker.C {
		if _, err := r.Do("PING"); err == nil {
			return
		}
	}
	r.t.Fatal("redis-server does not answer within a minute")
}

// Kill ends the server at once, with all that it holds. It does nothing to one
// that has ended.
func (r *Redis) Kill() {
	if r.server == nil {
		return
	}
	r.server.Kill()
	_ = r.server.Wait()
	r.server = nil
}

// Signal sends a signal to the server: SIGSTOP and SIGCONT make it hang for a
// while.
func (r *Redis) Signal(signal syscall.Signal) {
	if r.server != nil {
		_ = r.server.Signal(signal)
	}
}

// Do runs a command without blanks in its arguments, such as FLUSHALL, and
// returns the first line of the answer.
func (r *Redis) Do(command string) (string, error) {
	conn, err := net.DialTimeout("unix", r.socket(), 10*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	line = strings.TrimSpace(line)
	if err == nil && strings.HasPrefix(line, "-") {
		err = fmt.Errorf("redis answered %s", line)
	}
	return line, err
}

// Dump returns all that the server holds, as it writes it to a file. Text is in
// it as it is.
func (r *Redis) Dump() []byte {
	r.t.Helper()
	if _, err := r.Do("SAVE"); err != nil {
		r.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "dump.rdb"))
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}
