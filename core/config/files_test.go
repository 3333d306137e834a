package config

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckFilesLooksAtEveryFileThatIsNamed(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("content\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	make("plugins/right", 0o755)
	make("plugins/text", 0o644)
	make("plugins/writable", 0o775)
	make("plugins/index-add", 0o755)
	make("key", 0o600)
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("content\n")))
	text := `server {
  plugin_dir = "plugins"
  tls {
    cert_file = "key"
    key_file  = "absent.key" # ERROR: Missing file
  }
}
identity "kerberos" { keytab = "absent.keytab" } # ERROR: Missing file
identity "tokens" { file = "." } # ERROR: Missing file
secrets { key_file = "absent" } # ERROR: Missing file
registry {
  auth_file = "absent.json" # ERROR: Missing file
  ca_files = { "h" = "absent.pem" } # ERROR: Missing file
}
plugin "right" {
  kind     = "gate"
  checksum = "` + sum + `"
}
plugin "wrong" {
  kind     = "gate"
  path     = "right"
  checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000" # ERROR: Wrong checksum
}
plugin "text" { kind = "gate" } # ERROR: Unusable plugin file
plugin "dir" {
  kind = "gate"
  path = "/" # ERROR: Unusable plugin file
}
plugin "writable" { kind = "gate" } # WARNING: Writable plugin file
plugin "index-ad" { kind = "handler" } # ERROR: Missing plugin file
plugin "loop" {
  kind = "gate"
  path = "right/below" # ERROR: Missing plugin file
}
plugin "off" {
  kind    = "gate"
  enabled = false
}
`
	path := filepath.Join(dir, "iib.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, found := Load(path, noEnv)
	if len(found) > 0 {
		t.Fatal(found)
	}
	found = c.CheckFiles()
	var got []string
	for _, d := range found {
		severity := map[Severity]string{Error: "ERROR", Warning: "WARNING"}[d.Severity]
		got = append(got, lineNumber(d.Range.Line)+" "+severity+" "+d.Summary)
	}
	if diff := cmp.Diff(sortedCopy(expected(text)), sortedCopy(got)); diff != "" {
		t.Errorf("findings differ from the comments (-want +got):\n%s\n%v", diff, found)
	}
	all := fmt.Sprint(found)
	for _, want := range []string{`Did you mean "index-add"?`, sum} {
		if !strings.Contains(all, want) {
			t.Errorf("no finding mentions %s:\n%s", want, all)
		}
	}
}
