package coretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// Postgres is a PostgreSQL server of a test's own, on a free loopback port,
// with its files in a temporary directory. It does not survive the test, nor
// the test program.
//
// It sorts text as English does, unlike SQLite and unlike most servers in
// tests, so that whoever forgets to ask for the order of bytes notices.
type Postgres struct {
	t        testing.TB
	bin, dir string
	port     int
	password string
	attr     *syscall.SysProcAttr
	server   *child.Process
	log      *os.File
}

// StartPostgres starts a server. Where PostgreSQL is not installed the test is
// skipped, or fails if IIB_REQUIRE_REAL is 1.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	bin, err := postgresPrograms()
	if err != nil {
		real.Missing(t, "%v", err)
	}
	p := &Postgres{t: t, bin: bin, password: rand.Text(), attr: new(syscall.SysProcAttr)}
	p.makeDir()
	p.run("initdb", "--pgdata", filepath.Join(p.dir, "data"), "--username=iib", "--pwfile", filepath.Join(p.dir, "password"),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync")
	p.port = loopback.Port(t)
	p.Start()
	t.Cleanup(func() { p.Kill() })
	return p
}

// postgresPrograms returns the directory of the server's programs, the newest
// where there are several.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		// It may be a link to where all of them are.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // Debian's place
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("PostgreSQL is not installed here: there is no program postgres in PATH or below /usr/lib/postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// makeDir makes the server's directory. The server refuses to run as root, so
// for root it belongs to somebody else.
func (p *Postgres) makeDir() {
	p.t.Helper()
	dir, err := os.MkdirTemp("", "iib-postgres-")
	if err != nil {
		p.t.Fatal(err)
	}
	p.dir = dir
	p.t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			p.t.Error(err)
		}
	})
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(p.password), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if p.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.log.Close() })
	if os.Geteuid() != 0 {
		return
	}
	uid, gid := unprivileged(p.t)
	p.attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, path := range []string{dir, password} {
		if err := os.Chown(path, uid, gid); err != nil {
			p.t.Fatal(err)
		}
	}
}

// unprivileged returns a user that root can become.
func unprivileged(t testing.TB) (uid, gid int) {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil {
			return uid, gid
		}
	}
	t.Fatal("there is no user postgres or nobody to run PostgreSQL as")
	return 0, 0
}

// run runs one of PostgreSQL's programs to its end.
func (p *Postgres) run(program string, args ...string) {
	p.t.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(p.bin, program), args...)
	cmd.SysProcAttr = p.attr
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "PGPASSWORD="+p.password)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("%s: %v\n%s", program, err, out.String())
	}
}

// Start starts the server again after Kill, and waits until it answers.
func (p *Postgres) Start() {
	p.t.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(p.bin, "postgres"), "-D", filepath.Join(p.dir, "data"),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", strconv.Itoa(p.port),
		// A process that is killed loses nothing of what the kernel has; only
		// a power cut would.
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB")
	attr := *p.attr
	attr.Pdeathsig = syscall.SIGQUIT // ends all of its processes at once
	cmd.SysProcAttr = &attr
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = p.log, p.log
	var err error
	if p.server, err = child.Start(cmd); err != nil {
		p.t.Fatalf("start PostgreSQL: %v", err)
	}
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := exec.CommandContext(context.Background(), filepath.Join(p.bin, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port))
		err := ready.Run()
		if err == nil {
			return
		}
		if _, answered := errors.AsType[*exec.ExitError](err); !answered {
			p.t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-p.server.Exited():
			p.t.Fatalf("PostgreSQL ended by itself:\n%s", p.tail())
		case <-deadline:
			p.t.Fatalf("PostgreSQL did not get ready in a minute:\n%s", p.tail())
		}
	}
}

func (p *Postgres) tail() string {
	log, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4096):])
}

// Kill ends the server's processes at once, as a crash would. It does nothing
// to one that has ended.
func (p *Postgres) Kill() {
	p.t.Helper()
	if p.server == nil {
		return
	}
	// SIGKILL would leave the processes that serve connections behind for a
	// moment, with the shared memory that the next start needs.
	_ = p.server.Signal(syscall.SIGQUIT)
	p.Signal(syscall.SIGCONT)
	_ = p.server.Wait() // how it ended is in its log
	p.server = nil
}

// Database makes a database and returns its address.
func (p *Postgres) Database() string {
	p.t.Helper()
	name := "db_" + strings.ToLower(rand.Text())
	p.run("createdb", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "iib", name)
	return p.address(name)
}

func (p *Postgres) address(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("iib", p.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), Path: "/" + database,
	}
	return u.String()
}
