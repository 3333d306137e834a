// Package real decides what becomes of a test that needs a real program which
// may not be there: on a user's machine it is skipped, and where IIB_REQUIRE_REAL
// is 1, as in CI, it fails.
package real

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Missing ends a test for the lack of something, which it names in the manner of
// fmt.Sprintf.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("IIB_REQUIRE_REAL") == "1" {
		t.Fatalf(format+", and IIB_REQUIRE_REAL is 1", args...)
	}
	t.Skipf(format, args...)
}

// Need ends a test if one of these programs is missing. PATH is looked at, and
// where Debian keeps what is for administrators. A name such as python3-dnf is
// that of a module of Debian's Python.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if module, ok := strings.CutPrefix(program, "python3-"); ok {
			if exec.Command("/usr/bin/python3", "-I", "-c", "import "+module).Run() != nil {
				Missing(t, "%s is not installed", program)
			}
			continue
		}
		Program(t, program)
	}
}

// Program returns a program's path, or ends the test as Need does.
func Program(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, program)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	Missing(t, "%s is not installed", program)
	return ""
}

// Root ends a test if its user is not root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "the test needs root's rights")
	}
}
