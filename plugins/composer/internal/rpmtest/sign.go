package rpmtest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// Sign signs packages with a new key of that name, whose public half is left in
// dir as key.asc.
func Sign(t testing.TB, dir, name string, packages ...string) {
	t.Helper()
	real.Need(t, "gpg", "rpmsign")
	// The agent's socket needs a short path.
	home, err := os.MkdirTemp("", "gpg-")
	if err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home, "HOME="+home)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return out
	}
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--kill", "all")
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		_ = cmd.Run()
		os.RemoveAll(home)
	})
	run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", name, "rsa2048", "sign", "never")
	run("rpmsign", append([]string{"--addsign", "--define", "_gpg_name " + name, "--define", "__gpg /usr/bin/gpg"}, packages...)...)
	run("gpg", "--batch", "--armor", "--output", dir+"/key.asc", "--export", name)
}
