package catalogtest

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// OnDisk writes the catalog into a temporary directory, for benchmarks that
// want to read files and not to make them.
func (s Spec) OnDisk(tb testing.TB) fs.FS {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.CopyFS(dir, s.FS()); err != nil {
		tb.Fatal(err)
	}
	return os.DirFS(dir)
}

// Meter measures a benchmark from now on, besides time and allocations: the
// returned function reports CPU seconds per operation, which other work on the
// machine does not spoil, and the peak of resident memory, where the system
// tells it. Call it before the loop, and the function after it.
func Meter(b *testing.B) (report func()) {
	b.ReportAllocs()
	runtime.GC()
	// Linux resets the high-water mark of the resident set.
	reset := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	start := cpuTime()
	return func() {
		b.ReportMetric((cpuTime()-start).Seconds()/float64(b.N), "CPU-s/op")
		status, err := os.ReadFile("/proc/self/status")
		if reset != nil || err != nil {
			return
		}
		for line := range strings.Lines(string(status)) {
			var kb float64
			if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
				b.ReportMetric(kb/1024, "MiB-peak")
			}
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
