package main

import (
	"os"
	"os/exec"
	"testing"
)

// need skips a test that needs what is not installed, or fails where that must
// not be.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		err := exec.Command("/usr/bin/python3", "-I", "-c", "import dnf").Run()
		if program != "python3-dnf" {
			_, err = exec.LookPath(program)
		}
		if err == nil {
			continue
		}
		if os.Getenv("IIB_REQUIRE_REAL") == "1" {
			t.Fatalf("%s is not installed, and IIB_REQUIRE_REAL is 1", program)
		}
		t.Skipf("%s is not installed", program)
	}
}
