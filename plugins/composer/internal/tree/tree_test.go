package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

func TestMain(m *testing.M) { rpmtest.Main(m) }

// fetch solves and downloads packages of the repository in dir.
func fetch(t *testing.T, dir string, names ...string) Spec {
	t.Helper()
	real.Need(t, "python3-dnf", "rpm")
	real.Root(t)
	s, err := dnf.New(dnf.Options{CacheDir: t.TempDir(), Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	sources := []solve.Source{{ID: "seed", Type: solve.BaseURL, URL: "file://" + dir}}
	var wishes solve.Wishes
	for _, name := range names {
		wishes.Packages = append(wishes.Packages, solve.Want{Name: name})
	}
	solution, err := s.Solve(t.Context(), sources, wishes, true)
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Dir: t.TempDir(), Work: t.TempDir(), Packages: t.TempDir(), Log: func(line string) { t.Log(line) }}
	spec.Files, err = s.Download(t.Context(), sources, solution.Packages, spec.Packages, nil)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// finish makes a tree ready to be packed.
func finish(t *testing.T, spec Spec) *Root {
	t.Helper()
	if err := Install(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	root, err := Open(spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if err := root.Clean(); err != nil {
		t.Fatal(err)
	}
	if err := root.Clamp(t.Context(), Epoch(spec.Files)); err != nil {
		t.Fatal(err)
	}
	return root
}

// describe lists a tree with all that an image keeps of it.
func describe(t *testing.T, root *Root) string {
	t.Helper()
	var b strings.Builder
	if err := root.Walk(t.Context(), func(e Entry) error {
		sum := ""
		if e.Info.Mode().IsRegular() {
			content, err := os.ReadFile(root.Path(e))
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(content))[:12]
		}
		fmt.Fprintf(&b, "%s %v %d:%d %d %s%s %q\n", e.Name, e.Info.Mode(), e.Stat.Uid, e.Stat.Gid, e.Info.ModTime().Unix(), e.Link, sum, e.Xattrs)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInstall(t *testing.T) {
	t.Parallel()
	dir := rpmtest.Distribution(t)
	spec := fetch(t, dir, "hello", "app", "ping", "shell")
	root := finish(t, spec)

	for _, c := range []struct {
		path     string
		mode     fs.FileMode
		uid, gid int
		content  string
	}{
		{"/usr/bin/hello", 0o755, 0, 0, "hello 2.0"},
		{"/bin/hello", 0o755, 0, 0, "hello 2.0"},
		{"/var/lib/app/data", 0o640, 990, 990, "data"},
		{"/var/lib/app/scriptlet", 0o644, 0, 0, "ran\n"},
		{"/etc/shadow", 0o600, 0, 0, ""},
		{"/etc/machine-id", 0o444, 0, 0, ""},
		{"/usr/bin/su", 0o755 | fs.ModeSetuid, 0, 0, "su"},
		{"/tmp", 0o777 | fs.ModeDir | fs.ModeSticky, 0, 0, ""},
		{"/root", 0o550 | fs.ModeDir, 0, 0, ""},
		{"/proc", 0o555 | fs.ModeDir, 0, 0, ""},
	} {
		info, err := root.Stat(c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		uid, gid := owner(info)
		if info.Mode() != c.mode || uid != c.uid || gid != c.gid {
			t.Errorf("%s: mode %v of %d:%d, want %v of %d:%d", c.path, info.Mode(), uid, gid, c.mode, c.uid, c.gid)
		}
		if c.content != "" {
			if got, err := root.ReadFile(c.path); err != nil || string(got) != c.content {
				t.Errorf("%s: %q, %v", c.path, got, err)
			}
		}
	}
	for _, gone := range []string{"/var/lib/random-seed", "/var/lib/rpm/.rpm.lock", "/dev/null", "/var/lib/dnf", "/root/.rpmdb", "/hello-doc"} {
		if root.Exists(gone) {
			t.Errorf("%s is in the tree", gone)
		}
	}
	if text := describe(t, root); !strings.Contains(text, `usr/bin/ping -rwxr-xr-x 0:0 1700000000`) || !strings.Contains(text, "security.capability") {
		t.Errorf("no capability on ping:\n%s", text)
	}

	out, err := exec.Command("rpm", "--root", spec.Dir, "--define", "_dbpath "+database, "-qa", "--qf", "%{NAME}-%{EVR}.%{ARCH} %{INSTALLTIME}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := len(spec.Files)
	for _, f := range spec.Files {
		// rpm counts seconds, from the epoch that it was told.
		line := fmt.Sprintf("%s %d", f.Package, rpmtest.Built/100)
		if !strings.Contains(string(out), line) {
			t.Errorf("rpm's database has no line that begins with %q:\n%s", line, out)
		}
	}
	if got := strings.Count(string(out), "\n"); got != want {
		t.Errorf("rpm's database has %d packages, want %d", got, want)
	}
}

func TestInstallIsReproducible(t *testing.T) {
	t.Parallel()
	spec := fetch(t, rpmtest.Distribution(t), "app", "hello", "sshd")
	first := describe(t, finish(t, spec))
	again := spec
	again.Dir, again.Work = t.TempDir(), t.TempDir()
	if diff := cmp.Diff(strings.Split(first, "\n"), strings.Split(describe(t, finish(t, again)), "\n")); diff != "" {
		t.Errorf("two trees differ:\n%s", diff)
	}
}

func TestDatabaseIsWhereTheImagesRPMLooks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rpmtest.Make(t, dir, append(rpmtest.Packages()[:2], rpmtest.RPM{
		Name: "rpm", Version: "4.19", Release: "1", Requires: []string{"base"},
		Files: []rpmtest.File{rpmtest.Text("/usr/lib/rpm/macros", "# where\n%_dbpath\t\t%{_usr}/lib/sysimage/rpm\n"), {Path: "/usr/lib/sysimage/rpm", Dir: true}},
	})...)
	rpmtest.Index(t, dir)
	spec := fetch(t, dir, "rpm")
	root := finish(t, spec)
	for _, at := range []string{sysimage, database} {
		out, err := exec.Command("rpm", "--root", spec.Dir, "--define", "_dbpath "+at, "-q", "rpm", "setup").Output()
		if err != nil || string(out) != "rpm-4.19-1.noarch\nsetup-2.14-1.noarch\n" {
			t.Errorf("the database in %s: %s, %v", at, out, err)
		}
	}
	if target, err := root.Readlink(database); err != nil || target != "../../usr/lib/sysimage/rpm" {
		t.Errorf("%s leads to %q, %v", database, target, err)
	}
}

func TestScriptletsAreConfined(t *testing.T) {
	t.Parallel()
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the host's"), 0o644); err != nil {
		t.Fatal(err)
	}
	escape := filepath.Join(filepath.Dir(secret), "escaped")
	// As root in a chroot one can leave it: open a directory, chroot below it,
	// go up. rpm's Lua has chroot for nobody but posix.chroot in old versions, so
	// the paths of the host are tried through /proc as well.
	rpmtest.Make(t, dir, append(rpmtest.Packages()[:2], rpmtest.RPM{
		Name: "evil", Version: "1", Release: "1", Requires: []string{"base"},
		Post: `local out = io.open("/found", "w")
for _, root in ipairs({"", "/..", "/proc/1/root", "/proc/self/root", "/proc/1/cwd"}) do
  local f = io.open(root .. "` + secret + `", "r")
  if f then out:write("read " .. root .. "\n") f:close() end
  local f = io.open(root .. "` + escape + `", "w")
  if f then out:write("wrote " .. root .. "\n") f:close() end
end
local f = io.open("/proc/sys/kernel/core_pattern", "w")
if f then out:write("kernel\n") f:close() end
for line in io.lines("/proc/net/dev") do out:write("net " .. line .. "\n") end
for line in io.lines("/proc/self/status") do if line:match("CapBnd") then out:write(line .. "\n") end end
for line in io.lines("/proc/self/mountinfo") do out:write("mount " .. line .. "\n") end
for name in posix.files("/proc") do if name:match("^%d+$") then out:write("process " .. name .. "\n") end end
out:close()`,
	})...)
	rpmtest.Index(t, dir)
	root := finish(t, fetch(t, dir, "evil"))
	found, err := root.ReadFile("/found")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(found)) {
		switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "read", "wrote", "kernel":
			t.Errorf("the scriptlet has %s %s", word, rest)
		case "net":
			if strings.Contains(rest, ":") && !strings.Contains(rest, "lo:") {
				t.Errorf("the scriptlet sees the network: %s", rest)
			}
		case "process":
			if rest != "1" && rest != "2" { // the one that waits for rpm, and rpm
				t.Errorf("the scriptlet sees process %s", rest)
			}
		}
	}
	if !strings.Contains(string(found), "process 1\n") || !strings.Contains(string(found), "net lo") && !strings.Contains(string(found), "lo:") {
		t.Errorf("the scriptlet has found too little to tell:\n%s", found)
	}
	if !strings.Contains(string(found), "CapBnd:\t00000000880400fb") {
		t.Errorf("the scriptlet's capabilities:\n%s", found)
	}
	if _, err := os.Stat(escape); err == nil {
		t.Errorf("the scriptlet has written %s", escape)
	}
}

func TestInstallExplains(t *testing.T) {
	t.Parallel()
	dir := rpmtest.Distribution(t)
	spec := fetch(t, dir, "failing")
	if err := Install(t.Context(), spec); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "the scriptlet refuses") {
		t.Errorf("a scriptlet that fails: %v", err)
	}
	spec = fetch(t, dir, "hello")
	spec.Files = spec.Files[1:2] // without what it needs
	if err := Install(t.Context(), spec); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "is needed by hello-2.0-1.x86_64") {
		t.Errorf("a package without what it needs: %v", err)
	}
}

func TestInstallIsCancelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rpmtest.Make(t, dir, append(rpmtest.Packages()[:2], rpmtest.RPM{
		Name: "endless", Version: "1", Release: "1", Requires: []string{"base"},
		Post: `rpm.interactive = nil
io.stderr:write("endless has begun\n")
while true do end`,
	})...)
	rpmtest.Index(t, dir)
	spec := fetch(t, dir, "endless")
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by the test")
	spec.Log = func(line string) {
		if line == "endless has begun" {
			cancel(stopped)
		}
	}
	before := time.Now()
	if err := Install(ctx, spec); !errors.Is(err, stopped) {
		t.Errorf("got %v after %v", err, time.Since(before))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), spec.Dir) || strings.Contains(string(mounts), spec.Work) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	if err := os.RemoveAll(spec.Dir); err != nil {
		t.Errorf("the tree cannot be removed: %v", err)
	}
}

func TestRootStaysInTheTree(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/file", []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, target := range map[string]string{
		"absolute": outside, "up": "../../../../../../.." + outside, "file": outside + "/file", "loop": "loop", "etc": "/real",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/real", 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	uid, gid := os.Getuid(), os.Getgid()
	me := Owner{uid, gid, 0o600}
	for _, name := range []string{"/absolute/x", "/up/x", "/../../x", "/file"} {
		if err := root.WriteFile(name, []byte("inside"), me); err != nil {
			t.Errorf("write %s: %v", name, err)
		}
	}
	if err := root.WriteFile("/loop/x", nil, me); err == nil {
		t.Error("a loop of links has an end")
	}
	if err := root.WriteFile("/etc/hostname", []byte("host"), me); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(dir + "/real/hostname"); err != nil || string(got) != "host" {
		t.Errorf("through a link of the tree: %q, %v", got, err)
	}
	if got, err := os.ReadFile(outside + "/file"); err != nil || string(got) != "outside" {
		t.Errorf("the file outside: %q, %v", got, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	if err := root.Remove("/absolute"); err != nil {
		t.Error(err)
	}
	if err := root.Remove("/../.."); err == nil {
		t.Error("the whole tree may be removed")
	}
}
