package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iib-engine/iib/core/config"
)

func TestSocketsAreTakenOverFromTheDeadOnly(t *testing.T) {
	path := filepath.Join(shortDir(t), "x.sock")
	address := config.Listener{Network: "unix", Address: path, Mode: 0o620}
	first, err := listenSocket(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(address); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a live one: %v", err)
	}
	// The socket stays when its process is killed.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := listenSocket(address)
	if err != nil {
		t.Fatalf("a dead one: %v", err)
	}
	defer second.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o620 {
		t.Errorf("%v, %v", info, err)
	}
	file := path + ".txt"
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(config.Listener{Network: "unix", Address: file, Mode: 0o600}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
	if _, err := listenSocket(config.Listener{Network: "unix", Address: path + "2", Group: "no such group", Mode: 0o600}); err == nil {
		t.Error("an unknown group is taken")
	}
	if left, _ := filepath.Glob(path + "2*"); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}
