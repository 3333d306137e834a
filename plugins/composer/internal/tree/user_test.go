package tree

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// asUser is the tree that this program makes in place of its tests, as somebody
// who is not root.
const asUser = "COMPOSER_TEST_AS_USER"

func init() {
	dir := os.Getenv(asUser)
	if dir == "" {
		return
	}
	found, _ := filepath.Glob(dir + "/packages/*.rpm")
	spec := Spec{Dir: dir + "/tree", Work: dir + "/work", Packages: dir + "/packages", Log: func(line string) { os.Stdout.WriteString(line + "\n") }}
	for _, path := range found {
		spec.Files = append(spec.Files, dnf.File{Path: path})
	}
	if err := Install(context.Background(), spec); err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func TestInstallAsUser(t *testing.T) {
	t.Parallel()
	real.Root(t)
	const nobody = 65534
	real.Need(t, "rpm", "python3-dnf")
	dir, err := os.MkdirTemp("", "tree-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{"", "tree", "work", "packages"} {
		path := filepath.Join(dir, d)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	rpmtest.Make(t, filepath.Join(dir, "packages"), rpmtest.Packages()[:2]...)
	program := filepath.Join(dir, "test")
	content, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asUser+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "does not let us make namespaces") {
			t.Skipf("this host has no user namespaces: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	root, err := Open(dir + "/tree")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	info, err := root.Stat("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	if uid, _ := owner(info); uid != nobody {
		t.Errorf("what is root's in the tree is %s's on the host", strconv.Itoa(uid))
	}
}
