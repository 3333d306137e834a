package build

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/iib-engine/iib/plugins/composer/internal/compose"
	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/child"
	"github.com/iib-engine/iib/sdk/sdktest"
	"github.com/iib-engine/iib/sdk/sdktest/processes"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// victim is the compose that this program runs in place of its tests, for
// TestKill: JSON in the environment.
const victim = "COMPOSER_TEST_VICTIM"

type victimTask struct {
	Params           compose.Params
	Workspace, Cache string
}

// runVictim composes until it is killed.
func runVictim(task string) error {
	var v victimTask
	if err := json.Unmarshal([]byte(task), &v); err != nil {
		return err
	}
	solver, err := dnf.New(dnf.Options{CacheDir: v.Cache, Arch: "x86_64"})
	if err != nil {
		return err
	}
	recorder := &watcher{Recorder: &sdktest.Recorder{}, on: "endless has begun", do: func() { fmt.Println("endless has begun") }}
	job := sdk.NewJob(sdktest.Request(compose.Type, &v.Params), v.Workspace, v.Cache, recorder)
	if err := New(Options{Packages: solver}).Run(context.Background(), job, &v.Params); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(v.Cache, v.Params.ImageName), recorder.Record().Artifacts[compose.ArtifactImage], 0o644)
}

func init() {
	if task := os.Getenv(victim); task != "" {
		if err := runVictim(task); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// children are the processes below one, with those of other name spaces.
func children(t *testing.T, of int) []int {
	t.Helper()
	parents := make(map[int]int)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(content), " (")
		fields := strings.Fields(rest[strings.LastIndex(rest, ")")+1:])
		p, err1 := strconv.Atoi(pid)
		parent, err2 := strconv.Atoi(fields[1])
		if err1 == nil && err2 == nil {
			parents[p] = parent
		}
	}
	var found []int
	for p := range parents {
		for at := p; at > 1; at = parents[at] {
			if parents[at] == of {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// start runs a victim until it says a line, and returns it with what it runs.
func start(t *testing.T, task victimTask, line string, ready func()) (*child.Process, []int) {
	t.Helper()
	data, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), victim+"="+string(data))
	out, its, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer its.Close() // the child keeps its own
	t.Cleanup(func() { out.Close() })
	cmd.Stdout = its
	v, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if line != "" {
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != line {
			t.Log(lines.Text())
		}
		if lines.Text() != line {
			t.Fatal("the victim has ended by itself")
		}
	} else {
		ready()
	}
	return v, children(t, v.PID())
}

// kill kills the victim alone, and checks that nothing of it is left.
func kill(t *testing.T, v *child.Process, below []int, least int, dirs ...string) {
	t.Helper()
	if len(below) < least {
		t.Errorf("the victim runs %d processes: nothing to be checked", len(below))
	}
	left := processes.Watch(t, below...)
	v.Kill()
	_ = v.Wait()
	left.Ended()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if strings.Contains(string(mounts), dir) {
			t.Errorf("something is mounted below %s:\n%s", dir, mounts)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("%s cannot be removed: %v", dir, err)
		}
	}
}

func TestKillWhileInstalling(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rpmtest.Make(t, dir, append(rpmtest.Packages()[:2], rpmtest.RPM{
		Name: "endless", Version: "1", Release: "1", Requires: []string{"base"}, Post: `io.stderr:write("endless has begun\n") while true do end`,
	}, rpmtest.RPM{Name: "tame", Version: "1", Release: "1", Requires: []string{"base"}})...)
	rpmtest.Index(t, dir)
	b := newBench(t, dir)
	task := victimTask{*b.params(t, "tar", "endless"), t.TempDir(), t.TempDir()}
	cmd, below := start(t, task, "endless has begun", nil)
	kill(t, cmd, below, 2, task.Workspace)

	// The same compose again, with the cache that the killed one has left.
	if err := os.MkdirAll(task.Workspace, 0o700); err != nil {
		t.Fatal(err)
	}
	params := b.params(t, "tar", "tame")
	solver, err := dnf.New(dnf.Options{CacheDir: task.Cache, Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	recorder := &sdktest.Recorder{}
	job := sdk.NewJob(sdktest.Request(compose.Type, params), task.Workspace, task.Cache, recorder)
	if err := New(Options{Packages: solver}).Run(t.Context(), job, params); err != nil {
		t.Errorf("after the crash: %v", err)
	}
}

func TestKillWhileDownloading(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	server := rpmtest.Serve(t, rpmtest.Distribution(t))
	params := b.params(t, "tar", "hello")
	params.Sources[0].URL = server.URL
	release := server.Hold()
	defer release()
	task := victimTask{*params, t.TempDir(), t.TempDir()}
	cmd, below := start(t, task, "", func() { server.Asked(t) })
	kill(t, cmd, below, 1, task.Workspace, task.Cache)
}

// Without root, images of packages whose files are all root's.
func TestComposeAsUser(t *testing.T) {
	t.Parallel()
	b := newBench(t, rpmtest.Distribution(t))
	real.Need(t, "mkfs.ext4", "mksquashfs", "xorriso")
	const nobody = 65534
	for _, kind := range []string{"tar", "ext4-filesystem", "live-iso"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			params := b.params(t, kind, "hello")
			params.Customizations = map[string]any{"hostname": "unprivileged"}
			top, err := os.MkdirTemp("", "compose-user-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(top) })
			task := victimTask{*params, top + "/workspace", top + "/cache"}
			program, err := os.ReadFile(os.Args[0])
			if err == nil {
				err = errors.Join(os.Mkdir(task.Workspace, 0o700), os.Chown(task.Workspace, nobody, nobody), os.Mkdir(task.Cache, 0o700), os.Chown(task.Cache, nobody, nobody),
					os.Chmod(top, 0o755), os.WriteFile(top+"/test", program, 0o755))
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(task)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(top+"/test", "-test.run=^$")
			cmd.Dir = top
			cmd.Env = append(os.Environ(), victim+"="+string(data))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			if out, err := cmd.CombinedOutput(); err != nil {
				if strings.Contains(string(out), "does not let us make namespaces") {
					t.Skipf("this host has no user namespaces: %s", out)
				}
				t.Fatalf("%v\n%s", err, out)
			}
			image := filepath.Join(task.Cache, params.ImageName)
			if got := open(t, kind, image)("/etc/hostname"); got != "unprivileged\n" {
				t.Errorf("/etc/hostname: %q", got)
			}
			var owners string
			switch kind {
			case "tar":
				owners = tool(t, "tar", "--numeric-owner", "-tvf", image, "usr/bin/hello")
			case "ext4-filesystem":
				owners = tool(t, "debugfs", "-R", "stat /usr/bin/hello", image)
			case "live-iso":
				dir := t.TempDir()
				tool(t, "xorriso", "-osirrox", "on", "-indev", image, "-extract", "/LiveOS/squashfs.img", dir+"/squashfs.img")
				owners = tool(t, "unsquashfs", "-lln", dir+"/squashfs.img", "usr/bin/hello")
			}
			if strings.Contains(owners, "65534") || !strings.Contains(owners, "0") {
				t.Errorf("owners: %s", owners)
			}
		})
	}
}
