package host

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// lines returns an output and what it logs, one line for each record: level,

// message and attributes.

func lines() (*output, *bytes.Buffer) {
	buf := new(bytes.Buffer)
	return newOutput(slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))), buf
}

func TestOutput(t *testing.T) {
	for _, c := range []struct {
		what, in, want string
	}{
		{"text", "one\ntwo\r\n\nthree", "level=INFO msg=one stream=stderr\nlevel=INFO msg=two stream=stderr\nlevel=INFO msg=three stream=stderr\n"},
		{"a record", `{"@level":"warn","@message":"m","@timestamp":"x","@module":"p","b":2,"a":"x"}` + "\n", "level=WARN msg=m a=x b=2\n"},
		{"a record that claims to be the engine's", `{"@level":"error","@message":"m","plugin":"other","msg":"x"}` + "\n", "level=ERROR msg=m plugin.msg=x plugin.plugin=other\n"},
		{"JSON that is no record", `{"level":"warn"}` + "\n", `level=INFO msg="{\"level\":\"warn\"}" stream=stderr` + "\n"},
		{"a record of a level that there is not", `{"@level":"loud","@message":"m"}` + "\n", `level=INFO msg="{\"@level\":\"loud\",\"@message\":\"m\"}" stream=stderr` + "\n"},
		{"half a record", `{"@level":"warn",` + "\n", `level=INFO msg="{\"@level\":\"warn\"," stream=stderr` + "\n"},
		{"bytes that are no text", "a\xffb\n", "level=INFO msg=\"a\uFFFDb\" stream=stderr\n"},
		{"a crash", "panic: x\n\ngoroutine 1\n", "level=ERROR msg=\"panic: x\" stream=stderr\nlevel=ERROR msg=\"goroutine 1\" stream=stderr\n"},
		{"a long line", strings.Repeat("x", maxLine+5) + "\nafter\n", "level=INFO msg=\"" + strings.Repeat("x", maxLine) + "… (6 bytes left out)\" stream=stderr\nlevel=INFO msg=after stream=stderr\n"},
		{"a long line that does not end", strings.Repeat("x", maxLine+5), "level=INFO msg=\"" + strings.Repeat("x", maxLine) + "… (5 bytes left out)\" stream=stderr\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			o, buf := lines()
			o.copy("stderr", iotest.HalfReader(strings.NewReader(c.in)))
			diff(t, "log", c.want, buf.String())
		})
	}

	t.Run("a record with too many attributes loses some", func(t *testing.T) {
		o, buf := lines()
		text := `{"@level":"info","@message":"m"`
		for i := range 2 * maxAttrs {
			text += fmt.Sprintf(`,"k%03d":%d`, i, i)
		}
		o.line("stderr", text+"}")
		diff(t, "attributes", maxAttrs, strings.Count(buf.String(), "=")-2)
	})

	t.Run("a writer puts lines together", func(t *testing.T) {
		o, buf := lines()
		w := o.writer("stdout")
		for _, part := range []string{"one\ntw", "o\n", "\n", "thr", "ee\nfo"} {
			if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
		diff(t, "log", "level=INFO msg=one stream=stdout\nlevel=INFO msg=two stream=stdout\nlevel=INFO msg=three stream=stdout\n", buf.String())
	})

	t.Run("a writer does not wait for ever for the end of a line", func(t *testing.T) {
		o, buf := lines()
		w := o.writer("stdout").(*lineWriter)
		for range 100 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
		}
		if len(w.part) > maxLine+1000 || buf.Len() == 0 {
			t.Errorf("%d bytes are kept", len(w.part))
		}
	})

	t.Run("too much is dropped and counted, until there is less", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, buf := lines()
			line := strings.Repeat("x", 1000)
			for range 10_000 {
				o.line("stdout", line)
			}
			kept := outputBurst / (1000 + lineCost)
			diff(t, "lines in the log", kept, strings.Count(buf.String(), "\n"))
			buf.Reset()
			time.Sleep(time.Second) // of the bubble
			o.line("stdout", "after")
			dropped := 10_000 - kept
			diff(t, "log", fmt.Sprintf("level=WARN msg=\"the plugin prints too much; output was dropped\" lines=%d bytes=%d\n"+
				"level=INFO msg=after stream=stdout\n", dropped, dropped*1000), buf.String())
		})
	})

	t.Run("the last lines are kept for an error", func(t *testing.T) {
		o, _ := lines()
		for i := range 1000 {
			o.line("stderr", fmt.Sprintf("line %d", i))
		}
		diff(t, "last", "line 995 / line 996 / line 997 / line 998 / line 999", o.last())
	})
}

func TestOutputOfAPlugin(t *testing.T) {
	t.Run("is in the log with its levels", func(t *testing.T) {
		c := command(t, "")
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "print"); err != nil {
			t.Fatal(err)
		}
		diff(t, "stream", "stdout", lines.wait("to standard output")["stream"])
		diff(t, "stream", "stderr", lines.wait("to standard error")["stream"])
		diff(t, "level", "DEBUG", lines.wait("at debug")["level"])
		warning := lines.wait("at warn")
		diff(t, "level", "WARN", warning["level"])
		diff(t, "attribute", any(7.0), warning["n"])
		diff(t, "attribute that has a name of the engine's", any("fake"), warning["level_"])
		if strings.Contains(lines.text(), "t0ken") {
			t.Error("the secret is in the log")
		}
	})
	t.Run("does not get far when it is too much", func(t *testing.T) {
		c := command(t, "")
		log, lines := newLog()
		c.Logger = log
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "flood"); err != nil { // 20 MB
			t.Fatal(err)
		}
		if _, err := ask(t.Context(), p, ""); err != nil {
			t.Errorf("a call afterwards: %v", err)
		}
		p.Kill()
		if n := len(lines.text()); n > 10<<20 {
			t.Errorf("%d bytes got into the log", n)
		}
	})
}
