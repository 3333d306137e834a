package host

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
)

func sum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func script(t testing.TB, text string) (path, trace string) {
	t.Helper()
	dir := t.TempDir()
	path, trace = filepath.Join(dir, "plugin"), filepath.Join(dir, "trace")
	// Through a shell: a program that this process has had open for writing
	// may, by a fork elsewhere, be so still, and then cannot be executed.
	write := exec.Command("/bin/sh", "-c", `printf '%s' "$1" >"$0" && chmod 755 "$0"`, path,
		"#!/bin/sh\n: >"+trace+"\n"+text)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path, trace
}

func TestLaunchChecksTheFile(t *testing.T) {
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }

	t.Run("and starts one of the right checksum", func(t *testing.T) {
		c := command(t, "")
		c.SHA256 = sum(t, c.Path)
		launched(t, c)
		c.SHA256 = "sha256:" + c.SHA256
		launched(t, c)
	})
	t.Run("and does not start one of another", func(t *testing.T) {
		path, trace := script(t, "")
		_, err := Launch(t.Context(), Command{Path: path, SHA256: strings.Repeat("0", 64), SocketDir: socketDir(t)})
		if sdk.CodeOf(err) != sdk.Denied || !strings.Contains(err.Error(), sum(t, path)) {
			t.Errorf("got %v", err)
		}
		if exists(trace) {
			t.Error("it ran")
		}
	})
	t.Run("and does not start one that somebody writes to", func(t *testing.T) {
		path, _ := script(t, "")
		program, err := openProgram(path, sum(t, path))
		if err != nil {
			t.Fatal(err)
		}
		defer program.close()
		if err := program.unchanged(); err != nil {
			t.Fatal(err)
		}
		// In place, of the same length and with the same time of its content.
		if out, err := exec.Command("/bin/sh", "-c", `printf '#' | dd of="$0" conv=notrunc && touch -d @`+
			fmt.Sprintf("%d.%09d", program.info.ModTime().Unix(), program.info.ModTime().Nanosecond())+` "$0"`, path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, err = start(t.Context(), Command{Name: "tested", Path: path, StartTimeout: time.Minute, Logger: quiet}, program, socketDir(t))
		if sdk.CodeOf(err) != sdk.Denied {
			t.Errorf("got %v", err)
		}
	})
	t.Run("and starts the one that it has checked, whatever is at the path by then", func(t *testing.T) {
		path, trace := script(t, "echo the first; exit 7")
		program, err := openProgram(path, sum(t, path))
		if err != nil {
			t.Fatal(err)
		}
		defer program.close()
		other, otherTrace := script(t, "echo the second")
		if err := os.Remove(path); err != nil { // a rename changes the times of what it moves
			t.Fatal(err)
		}
		if program.info, err = program.file.Stat(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
		_, err = start(t.Context(), Command{Name: "tested", Path: path, StartTimeout: time.Minute, Logger: quiet}, program, socketDir(t))
		if err == nil || !strings.Contains(err.Error(), "the first") {
			t.Errorf("got %v", err)
		}
		if !exists(trace) || exists(otherTrace) {
			t.Error("the wrong one ran")
		}
	})
	for _, c := range []struct {
		what string
		make func(path string) error
		sum  string
		want sdk.Code
	}{
		{"that is not there", func(string) error { return nil }, "", sdk.NotFound},
		{"that is a directory", func(p string) error { return os.Mkdir(p, 0o755) }, "", sdk.Invalid},
		{"that is a pipe", func(p string) error { return syscall.Mkfifo(p, 0o755) }, "", sdk.Invalid},
		{"that is not executable", func(p string) error { return os.WriteFile(p, []byte("#!/bin/sh\n"), 0o644) }, "", sdk.Denied},
		{"that is no program", func(p string) error { return os.WriteFile(p, []byte("text"), 0o755) }, "", sdk.Invalid},
		{"that is empty", func(p string) error { return os.WriteFile(p, nil, 0o755) }, "", sdk.Invalid},
		{"without its interpreter", func(p string) error { return os.WriteFile(p, []byte("#!/no/such\n"), 0o755) }, "", sdk.Invalid},
		{"with half a checksum", func(p string) error { return os.WriteFile(p, nil, 0o755) }, "sha256:abcd", sdk.Invalid},
	} {
		t.Run("and refuses one "+c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "plugin")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			_, err := Launch(t.Context(), Command{Path: path, SHA256: c.sum, SocketDir: socketDir(t)})
			if sdk.CodeOf(err) != c.want || !strings.HasPrefix(err.Error(), "launch plugin plugin: ") {
				t.Errorf("got %v of code %s, want %s", err, sdk.CodeOf(err), c.want)
			}
		})
	}
}
