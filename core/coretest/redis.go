package coretest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// StartRedis starts a Redis server of the test's own and returns its URL. It
// listens on a unix socket in a temporary directory, keeps nothing on disk, and
// does not survive the test, nor the test program. Where Redis is not installed
// the test is skipped, or fails if IIB_REQUIRE_REAL is 1.
func StartRedis(t testing.TB) (url string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("IIB_REQUIRE_REAL") == "1" {
			t.Fatal("Redis is not installed here: there is no program redis-server in PATH")
		}
		t.Skip("Redis is not installed here: there is no program redis-server in PATH")
	}
	// A socket's address must be short, which a test's directory need not be.
	dir, err := os.MkdirTemp("", "iib-redis-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "redis.sock")
	server := exec.Command(program, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-ticker.C {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
			return "redis-socket://" + socket
		}
	}
	t.Fatal("redis-server does not answer within a minute")
	return ""
}
