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

// Meter measures a benchmark besides time and allocations: CPU seconds per
// operation, which other work on the machine does not spoil, and the peak of
// resident memory, where the system tells it.
type Meter struct {
	b       *testing.B
	used    time.Duration
	since   time.Duration
	measure bool
}

// StartMeter returns a meter that runs. Call it before the loop.
func StartMeter(b *testing.B) *Meter {
	b.ReportAllocs()
	runtime.GC()
	// Linux resets the high-water mark of the resident set.
	reset := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	return &Meter{b: b, since: cpuTime(), measure: reset == nil}
}

// Pause stops the benchmark's timer, and Resume starts it again, with the meter.
func (m *Meter) Pause() {
	m.b.StopTimer()
	m.used += cpuTime() - m.since
}

// Resume ends a Pause.
func (m *Meter) Resume() {
	m.since = cpuTime()
	m.b.StartTimer()
}

// Report adds what was measured to the benchmark's result. Call it after the
// loop.
func (m *Meter) Report() {
	m.used += cpuTime() - m.since
	m.b.ReportMetric(m.used.Seconds()/float64(m.b.N), "CPU-s/op")
	status, err := os.ReadFile("/proc/self/status")
	if !m.measure || err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			m.b.ReportMetric(kb/1024, "MiB-peak")
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
