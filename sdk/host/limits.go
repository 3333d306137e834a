package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a plugin's process may use; zero is no limit. They are for
// accidents: what the process starts has its own count, and a plugin with the
// rights of root can lift them.
type Limits struct {
	// Memory is what may be resident and is not backed by a file, in bytes.
	// It is sampled: a process that has more is ended soon. Go plugins are
	// told, and collect garbage harder before they get there.
	Memory int64
	// CPUTime is for the life of the process. It is sampled: a process that has
	// used more is ended soon.
	CPUTime time.Duration
	// OpenFiles is the number of descriptors; beyond it calls fail.
	OpenFiles int
}

const (
	// sample is how often a process with a limit is looked at.
	sample = 200 * time.Millisecond
	// memorySlack is what the kernel lets a process have beyond its memory
	// limit between two looks. It must cover what is reserved and not used,
	// which is 150 MB in a Go program that does nothing.
	memorySlack = 1 << 30
)

// cpuSeconds is what the kernel lets a process use, and each that it starts. It
// counts in ticks, which on a busy machine can be far ahead of the time that was
// used.
func (l Limits) cpuSeconds() uint64 {
	return uint64((2*l.CPUTime + time.Second - 1) / time.Second)
}

// environment tells a Go program's garbage collector of the memory limit.
func (l Limits) environment() []string {
	if l.Memory <= 0 {
		return nil
	}
	return []string{fmt.Sprintf("GOMEMLIMIT=%d", l.Memory/10*9)}
}

// impose sets the kernel's limits of a process.
func (l Limits) impose(pid int) error {
	set := func(resource int, n uint64) error {
		return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil)
	}
	if l.Memory > 0 {
		if err := set(unix.RLIMIT_DATA, uint64(l.Memory)+memorySlack); err != nil {
			return fmt.Errorf("limit memory: %w", err)
		}
	}
	if l.CPUTime > 0 {
		if err := set(unix.RLIMIT_CPU, l.cpuSeconds()); err != nil {
			return fmt.Errorf("limit processor time: %w", err)
		}
	}
	if l.OpenFiles > 0 {
		if err := set(unix.RLIMIT_NOFILE, uint64(l.OpenFiles)); err != nil {
			return fmt.Errorf("limit open files: %w", err)
		}
	}
	return nil
}

// watch ends the process when it has more than it may.
func (p *process) watch() {
	limits := p.command.Limits
	if limits.Memory <= 0 && limits.CPUTime <= 0 {
		return
	}
	ticker := time.NewTicker(sample)
	defer ticker.Stop()
	for {
		select {
		case <-p.exited:
			return
		case <-ticker.C:
		}
		if excess := limits.excess(p.cmd.Process.Pid); excess != "" {
			p.tell(func(s *story) { s.excess = excess })
			p.kill()
			return
		}
	}
}

const advice = "if it needs that much, raise %s in the limits of its block"

// excess tells which limit a process has passed, and what to do about it.
func (l Limits) excess(pid int) string {
	if l.Memory > 0 {
		if has := memoryOf(pid); has > l.Memory {
			return fmt.Sprintf("it had %d MiB of memory and may have %d: "+advice, has>>20, l.Memory>>20, "memory")
		}
	}
	if l.CPUTime > 0 {
		return overTime(cpuTimeOf(pid), l.CPUTime)
	}
	return ""
}

// overTime tells of processor time beyond a limit.
func overTime(used, limit time.Duration) string {
	if used <= limit {
		return ""
	}
	return fmt.Sprintf("it has used %v of processor time and may have %v: "+advice, used.Round(time.Millisecond), limit, "cpu_time")
}

// cpuTimeOf returns the processor time that a process has used; 0 if it cannot
// be known.
func cpuTimeOf(pid int) time.Duration {
	var used unix.Timespec
	// The number of a process's clock is what clock_getcpuclockid(3) makes of it:
	// CPUCLOCK_SCHED, which counts no ticks, is 2.
	if unix.ClockGettime(int32(^pid<<3|2), &used) != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

// memoryOf returns a process's resident memory that no file backs; 0 if it
// cannot be known.
func memoryOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0
	}
	resident, err1 := strconv.ParseInt(fields[1], 10, 64)
	shared, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}

// ending tells how the process has ended, and of the limit that ended it. It is
// called once it has been waited for.
func (p *process) ending(err error) error {
	state := p.cmd.ProcessState
	if state == nil {
		return err
	}
	var known story
	p.tell(func(s *story) { known = *s })
	excess := known.excess
	if limit := p.command.Limits.CPUTime; excess == "" && limit > 0 {
		// The kernel may have seen it first.
		excess = overTime(state.UserTime()+state.SystemTime(), limit)
	}
	if excess != "" {
		return fmt.Errorf("%s; %s", state, excess)
	}
	return fmt.Errorf("%s", state)
}
