package coretest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processes returns the server's first process and those that it has started.
func (p *Postgres) processes() []int {
	if p.server == nil {
		return nil
	}
	return append([]int{p.server.PID()}, children(p.server.PID())...)
}

// children are the processes that a process has started.
func children(parent int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []int
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may have anything in it.
		text := string(data)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// Signal sends a signal to all of the server's processes: SIGSTOP and SIGCONT
// make it hang for a while.
func (p *Postgres) Signal(signal syscall.Signal) {
	for _, pid := range p.processes() {
		_ = syscall.Kill(pid, signal)
	}
}

// Crash kills all of the server's processes with SIGKILL and returns when they
// are gone. It does nothing to a server that has ended.
func (p *Postgres) Crash() {
	p.t.Helper()
	pids := p.processes()
	if len(pids) == 0 {
		return
	}
	for _, pid := range pids { // the first first, which would start others again
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = p.server.Wait()
	p.server = nil
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		alive := 0
		for _, pid := range pids {
			if syscall.Kill(pid, 0) == nil {
				alive++
			}
		}
		if alive == 0 {
			return
		}
	}
	p.t.Fatal("processes of PostgreSQL survived SIGKILL for a minute")
}

// CrashConnection kills one of the processes that serve connections. The server
// takes that for a broken memory, drops all other connections and recovers. It
// reports false if there is no connection.
func (p *Postgres) CrashConnection() bool {
	for _, pid := range p.processes() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.HasPrefix(string(line), "postgres: iib ") {
			return syscall.Kill(pid, syscall.SIGKILL) == nil
		}
	}
	return false
}

// Dump returns all that a database holds, as text.
func (p *Postgres) Dump(database string) []byte {
	p.t.Helper()
	command := exec.CommandContext(context.Background(), filepath.Join(p.bin, "pg_dump"), "--inserts", database)
	out, err := command.Output()
	if err != nil {
		p.t.Fatalf("pg_dump: %v", err)
	}
	return out
}

// Query returns the rows of a query, one a line.
func (p *Postgres) Query(database, query string) []string {
	p.t.Helper()
	out, err := exec.CommandContext(context.Background(), filepath.Join(p.bin, "psql"), "-XAt", "-c", query, database).Output()
	if err != nil {
		p.t.Fatalf("psql: %v", err)
	}
	return strings.Fields(string(out))
}
