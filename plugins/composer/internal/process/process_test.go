package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
)

func TestRun(t *testing.T) {
	t.Setenv("COMPOSER_TEST_SECRET", "secret")
	dir := t.TempDir()
	var out bytes.Buffer
	c := Command{Program: "sh", Args: []string{"-c", "pwd; env; echo said >&2; cat"}, Dir: dir, Stdin: strings.NewReader("fed"), Stdout: &out, Env: []string{"ADDED=1"}}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{dir + "\n", "ADDED=1\n", "HOME=" + dir + "\n", "fed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "secret") {
		t.Error("the program sees our environment")
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	var failure *Failure
	err := (&Command{Program: "sh", Args: []string{"-c", "echo one >&2; echo 'no space left on device' >&2; exit 3"}, Dir: t.TempDir()}).Run(t.Context())
	if !errors.As(err, &failure) || !failure.NoSpace() || err.Error() != "sh: exit status 3: no space left on device" {
		t.Errorf("got %v", err)
	}
	for _, program := range []string{"no-such-program", "/no/such/program"} {
		err := (&Command{Program: program, Dir: t.TempDir()}).Run(t.Context())
		if sdk.CodeOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), program) {
			t.Errorf("%s: %v (%s)", program, err, sdk.CodeOf(err))
		}
	}
}

// What a program has started ends with it, however it ends.
func TestGroupEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script string
		cancel bool
	}{
		{"by itself", "sleep 1000 & echo $! >&3; exit 0", false},
		{"when it is cancelled", "sleep 1000 & echo $! >&3; wait", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			stopped := errors.New("stopped by the test")
			pid := make(chan int, 1)
			go func() {
				var n int
				_, _ = fmt.Fscan(read, &n)
				pid <- n
				if c.cancel {
					cancel(stopped)
				}
			}()
			err = (&Command{Program: "sh", Args: []string{"-c", c.script}, Dir: t.TempDir(), Files: []*os.File{write}}).Run(ctx)
			write.Close()
			if c.cancel != errors.Is(err, stopped) || !c.cancel && err != nil {
				t.Errorf("got %v", err)
			}
			n := <-pid
			// Killed is not yet gone: its new parent has to reap it.
			stat, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(n), "stat"))
			if err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ") {
				status, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(n), "status"))
				if !strings.Contains(string(status), "SigPnd:\t0000000000000100") && !strings.Contains(string(status), "ShdPnd:\t0000000000000100") {
					t.Errorf("process %d runs on: %s", n, stat)
				}
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	var got []string
	l := &Lines{Each: func(s string) { got = append(got, s) }}
	for _, part := range []string{"one\ntw", "o\r\n\nthree\rfo", "ur\xff", strings.Repeat("x", longest+5)} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	l.Flush()
	want := []string{"one", "two", "three", "four?" + strings.Repeat("x", longest-5), strings.Repeat("x", 10)}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
