package bucket_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/core/bucket"
	"github.com/iib-engine/iib/core/coretest"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/poll"
)

func appendTo(t *testing.T, files *bucket.Files) io.WriteCloser {
	t.Helper()
	w, err := files.Logs().Append(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

func closeLog(t *testing.T, w io.Closer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func openLog(t *testing.T, files *bucket.Files) io.ReadCloser {
	t.Helper()
	r, err := files.Logs().Open(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func logOf(t *testing.T, files *bucket.Files) string {
	t.Helper()
	data, err := io.ReadAll(openLog(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// await reads on until the reader has brought as much as wanted.
func await(t *testing.T, r io.Reader, got *bytes.Buffer, want string) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("the log has these %d bytes: %.200q", len(want), want), func() bool {
		if _, err := io.Copy(got, r); err != nil {
			t.Fatal(err)
		}
		return got.String() == want
	})
}

func lines(who string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s %d\n", who, i)
	}
	return b.String()
}

func TestALogIsFewObjectsAndFollowedByFewCalls(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	w := appendTo(t, files)
	r := openLog(t, files)
	var got bytes.Buffer
	want := ""
	for i := range 5 {
		text := lines("line", i, i+1)
		want += text
		write(t, w, text)
		await(t, r, &got, want)
	}
	if keys := s.Keys(t); len(keys) != 1 {
		t.Errorf("a short log is %v", keys)
	}
	s.Calls()
	if n, err := r.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read at the end: %d, %v", n, err)
	}
	if calls := s.Calls(); calls[http.MethodGet]+calls[http.MethodHead] > 2 {
		t.Errorf("reading on at the end made the calls %v", calls)
	}
	// The next segment begins when this one is long.
	big := strings.Repeat("x", bucket.SegmentSize)
	for range 3 {
		want += big + "\n"
		write(t, w, big+"\n")
		await(t, r, &got, want)
	}
	closeLog(t, w)
	if keys := s.Keys(t); len(keys) != 3 {
		t.Errorf("a long log is %v", keys)
	}
	if whole := logOf(t, files); whole != want {
		t.Errorf("%d bytes, want %d", len(whole), len(want))
	}
}

func TestAStaleWriterAndItsSuccessorKeepEachOthersLines(t *testing.T) {
	s := coretest.StartS3(t)
	stale, successor := open(t, s), open(t, s)
	a := appendTo(t, stale)
	write(t, a, lines("a", 0, 10))
	b := appendTo(t, successor)
	// Both go on to new segments, and want the same number.
	big := strings.Repeat("x", bucket.SegmentSize) + "\n"
	for i := range 5 {
		write(t, a, big+lines("a", 10+i, 11+i))
		write(t, b, big+lines("b", i, i+1))
		closeLog(t, appendTo(t, stale))
	}
	closeLog(t, a)
	write(t, b, lines("b", 5, 10))
	closeLog(t, b)
	var as, bs strings.Builder
	for line := range strings.Lines(logOf(t, stale)) {
		switch line[0] {
		case 'a':
			as.WriteString(line)
		case 'b':
			bs.WriteString(line)
		}
	}
	if as.String() != lines("a", 0, 15) || bs.String() != lines("b", 0, 10) {
		t.Errorf("the log has of the stale writer:\n%sand of its successor:\n%s", as.String(), bs.String())
	}
}

func TestALogIsWrittenOnceWhateverHappensToCalls(t *testing.T) {
	for _, fault := range []coretest.S3Fault{coretest.S3Error, coretest.S3SlowDown, coretest.S3Reset, coretest.S3Truncation, coretest.S3Hang} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s := coretest.StartS3(t)
			files := open(t, s)
			w := appendTo(t, files)
			broken := once(fault)
			s.Break(func(r *http.Request) coretest.S3Fault {
				// A call that hangs is given up after seconds: the first is enough.
				if fault == coretest.S3Hang && r.Method != http.MethodPut {
					return coretest.S3Fine
				}
				return broken(r)
			})
			r := openLog(t, open(t, s))
			var got bytes.Buffer
			want := ""
			for i := range 3 {
				text := lines("line", 10*i, 10*i+10)
				if i == 1 {
					text = strings.Repeat("x", bucket.SegmentSize) + "\n" + text
				}
				want += text
				write(t, w, text)
				await(t, r, &got, want)
			}
			s.Break(nil)
			closeLog(t, w)
			if whole := logOf(t, files); whole != want {
				t.Errorf("%d bytes, want %d", len(whole), len(want))
			}
		})
	}
}

func TestABucketThatIsAwayCostsNoMoreThanLines(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	first := appendTo(t, files)
	write(t, first, "before\n")
	closeLog(t, first)
	s.Break(func(*http.Request) coretest.S3Fault { return coretest.S3SlowDown })
	w := appendTo(t, files)
	write(t, w, "while it is away\n")
	chunk := strings.Repeat("x", 64<<10) + "\n"
	dropped := 0
	for written := 0; written < 4*bucket.MaxPending; written += len(chunk) {
		if _, err := io.WriteString(w, chunk); err != nil {
			if sdk.CodeOf(err) != sdk.Unavailable {
				t.Fatal(err)
			}
			dropped++
		}
	}
	if dropped == 0 {
		t.Error("all of it was kept in memory")
	}
	s.Break(nil)
	// What there is room for again is told from what is lost.
	poll.Until(t, "what is written to the bucket that is back is kept", func() bool {
		_, err := io.WriteString(w, "after\n")
		return err == nil
	})
	closeLog(t, w)
	got := strings.ReplaceAll(logOf(t, files), chunk, "")
	notice := "bytes of this log were lost, because its bucket did not answer\n"
	if !strings.HasPrefix(got, "before\nwhile it is away\n") || !strings.Contains(got, notice) || !strings.HasSuffix(got, "after\n") {
		t.Errorf("the log is %q", got)
	}
}

func TestClosingDoesNotWaitForABucketThatHangs(t *testing.T) {
	s := coretest.StartS3(t)
	files := open(t, s)
	w := appendTo(t, files)
	s.Break(func(*http.Request) coretest.S3Fault { return coretest.S3Hang })
	write(t, w, "lost\n")
	began := time.Now()
	if err := w.Close(); sdk.CodeOf(err) != sdk.Unavailable {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %s", took)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a closed log takes more")
	}
}

func TestALogHasALimit(t *testing.T) {
	files := open(t, coretest.StartS3(t))
	const limit, size = 1 << 20, 1 << 16
	files.Limit(0, limit)
	for range 2 {
		w := appendTo(t, files)
		for range limit/size + 3 {
			write(t, w, strings.Repeat("x", size))
		}
		closeLog(t, w)
	}
	got := logOf(t, files)
	if strings.Trim(got[:limit], "x") != "" || got[limit:] != "\nThe log has reached its limit; the rest was dropped.\n" {
		t.Errorf("%d bytes, ending in %.100q", len(got), got[limit:])
	}
}
