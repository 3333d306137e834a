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
	// CPUTime is for the life of the process, in whole seconds, rounded up. A
	// process that has used more is ended.
	CPUTime time.Duration
	// OpenFiles is the number of descriptors; beyond it calls fail.
	OpenFiles int
}

const (
	// memorySample is how often a process with a memory limit is looked at.
	memorySample = 200 * time.Millisecond
	// memorySlack is what the kernel lets a process have beyond its memory
	// limit between two looks. It must cover what is reserved and not used,
	// which is 150 MB in a Go program that does nothing.
	memorySlack = 1 << 30
)

func (l Limits) cpuSeconds() uint64 {
	return uint64((l.CPUTime + time.Second - 1) / time.Second)
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

// watchMemory ends the process when it has more than it may.
func (p *process) watchMemory() {
	most := p.command.Limits.Memory
	if most <= 0 {
		return
	}
	ticker := time.NewTicker(memorySample)
	defer ticker.Stop()
	for {
		select {
		case <-p.exited:
			return
		case <-ticker.C:
		}
		if has := memoryOf(p.cmd.Process.Pid); has > most {
			p.tell(func(s *story) { s.excess = fmt.Sprintf("it had %d MiB of memory and may have %d", has>>20, most>>20) })
			p.kill()
			return
		}
	}
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
	limit := p.command.Limits.CPUTime
	// The kernel ends a process by a count that is a little ahead of the one that
	// it tells afterwards.
	almost := limit - limit/20
	switch used := state.UserTime() + state.SystemTime(); {
	case known.excess != "":
		return fmt.Errorf("%s; %s", state, known.excess)
	case limit > 0 && used >= almost:
		return fmt.Errorf("%s; it has used %v of processor time and may have %v", state, used.Round(time.Millisecond), limit)
	}
	return fmt.Errorf("%s", state)
}
