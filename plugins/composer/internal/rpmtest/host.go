package rpmtest

import (
	"os"
	"os/exec"
	"testing"
)

// lacks skips a test that needs what this host does not let it have, or fails
// it if IIB_REQUIRE_REAL is 1.
func lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("IIB_REQUIRE_REAL") == "1" {
		t.Fatalf(format+", and IIB_REQUIRE_REAL is 1", args...)
	}
	t.Skipf(format, args...)
}

// NeedRoot is for tests that give files to other users.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacks(t, "owners other than ourselves need root")
	}
}

// SmallDisk mounts a disk of a size in mount's words, such as "4m", until the
// test ends.
func SmallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		lacks(t, "a small disk cannot be mounted here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	return dir
}
