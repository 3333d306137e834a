package real

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk mounts a file system of so many bytes until the test ends, or ends the
// test where that is not allowed.
func Disk(t testing.TB, bytes int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		Missing(t, "a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
